"""A whole encoder as an ONNX graph, which runs without torch."""

import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from solo_bayesncl.errors import InputError
from solo_bayesncl.sharing.formats.base import Format

OPSET = 18


class OnnxFormat(Format):
    """A graph for batches of any size, with the run's settings as metadata."""

    name = "onnx"
    outputs = "codes"
    requires = ("onnx", "onnxruntime", "onnxscript")

    def content(self, out: Path) -> bytes:
        from onnx.helper import set_model_props

        try:
            program = torch.onnx.export(
                self.encoder,
                (torch.zeros(2, *self.image_shape),),
                input_names=["images"],
                output_names=["codes"],
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
        except Exception as error:  # the exporter's errors for unknown operations share no class
            raise InputError(
                f"--format onnx: torch {torch.__version__} cannot export backbone.name="
                f"{self.backbone_name}: {textwrap.shorten(str(error), 300)} Choose --format "
                "safetensors."
            ) from error
        model = program.model_proto
        set_model_props(model, {"settings": json.dumps(self.encoder.settings)})
        return model.SerializeToString()

    def load(self, path: Path) -> Callable[[Tensor], Tensor]:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path))
        return lambda images: torch.from_numpy(
            session.run(["codes"], {"images": images.numpy()})[0]
        )

    def usage(self, path: Path) -> list[str]:
        return [
            "import onnxruntime, torch",
            f"session = onnxruntime.InferenceSession({str(path)!r})",
            "outputs = torch.from_numpy(session.run(['codes'], {'images': images.numpy()})[0])",
        ]
