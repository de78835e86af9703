"""A whole encoder, from images to codes, as safetensors and as an ONNX graph."""

import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from solo_bayesncl.errors import ArgumentError
from solo_bayesncl.sharing.encoder import CUT, PARTS, Encoder
from solo_bayesncl.sharing.formats.base import Format, contiguous, to_source

OPSET = 18


class SafetensorsFormat(Format):
    """Backbone and heads, with settings, classes and the cut as metadata, for `load_encoder`.

    A ResNet with heads of `solo_bayesncl.nn.mlp` needs no solo-learn: `usage` builds it.
    """

    name = "safetensors"
    outputs = "codes"
    alternative = ""

    def content(self, out: Path) -> bytes:
        weights = contiguous(self.encoder.model.state_dict())
        return safetensors.torch.save(
            {name: value for name, value in weights.items() if name.startswith(PARTS)},
            _metadata(self.encoder, "settings", "classes"),
        )

    def load(self, path: Path) -> Callable[[Tensor], Tensor]:
        return Encoder.load(path)

    def usage(self, path: Path) -> list[str]:
        model = self.encoder.model
        names = [name for name in ("projector", "gating_head") if hasattr(model, name)]
        heads = {name: _mlp_arguments(getattr(model, name)) for name in names}
        if not self.is_resnet or hasattr(model, "predictor") or not all(heads.values()):
            heads = {}
        if not heads:
            return [
                "import solo_bayesncl",
                f"outputs = solo_bayesncl.load_encoder({str(path)!r})(images)",
            ]
        options = getattr(model, "code_options", {"non_neg": None})
        threshold = self.encoder.code_threshold
        cut = [
            "from solo_bayesncl.metrics import apply_cut",
            f"outputs = apply_cut(outputs, {threshold!r})",
        ]
        return [
            "import torch, torchvision, safetensors.torch",
            "from solo_bayesncl.nn import mlp  # these two need no solo-learn",
            "from solo_bayesncl.objective import encode",
            *self.resnet_usage(),
            "parts = torch.nn.ModuleDict({'backbone': backbone})",
            *(f"parts[{name!r}] = mlp({arguments})" for name, arguments in heads.items()),
            f"parts.load_state_dict(safetensors.torch.load_file({str(path)!r}))",
            "feats = parts.eval()['backbone'](images)",
            f"heads = [parts[name](feats) for name in {names}]",
            f"outputs = encode(*heads, {to_source(options)}).codes",
            *(cut if threshold else []),
        ]


def _metadata(encoder: Encoder, *names: str) -> dict[str, str]:
    """Attributes of an encoder as JSON, and those of its cut, if it has one."""
    cut = () if encoder.code_length is None else CUT
    return {name: json.dumps(getattr(encoder, name)) for name in (*names, *cut)}


def _mlp_arguments(head: nn.Module) -> str | None:
    """Source of the arguments of `mlp` that give `head`; None for another module."""
    layers = list(head) if isinstance(head, nn.Sequential) else [head]
    linear, between = layers[::2], layers[1::2]
    if not linear or {*map(type, linear)} != {nn.Linear} or not {*map(type, between)} <= {nn.ReLU}:
        return None
    first, last = linear[0], linear[-1]
    return f"{first.in_features}, {first.out_features}, {last.out_features}, depth={len(linear)}"


class OnnxFormat(Format):
    """A graph for batches of any size that runs without torch; settings and cut as metadata."""

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
            raise ArgumentError(
                "format", self.name,
                f": torch {torch.__version__} cannot export backbone.name={self.backbone_name}: "
                f"{textwrap.shorten(str(error), 300)}{self.alternative}",
            ) from error  # fmt: skip
        model = program.model_proto
        set_model_props(model, _metadata(self.encoder, "settings"))
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
