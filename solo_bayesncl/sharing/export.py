"""Trained models in the files of other libraries: torchvision, timm, safetensors, ONNX.

A format is told to the user by the lines that load its file. The same lines are run on the written
file, and what they compute is compared with the model, before the file gets its name.
"""

import inspect
import io
import json
import keyword
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from solo_bayesncl import files
from solo_bayesncl.errors import InputError
from solo_bayesncl.sharing.encoder import PARTS, Encoder

ONNX_OPSET = 18
# largest difference from the model's own outputs, absolute or of the largest of them
TOLERANCE = 1e-4
# another library's rounding can open or close a gate that is this close to its threshold
UNDECIDED = 1e-5
RANDOM_IMAGES = 8


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        part: "backbone", images to features, or "encoder", images to codes.
        content: the file's bytes; raises `InputError` for a model that it cannot hold.
        usage: lines of Python that compute `outputs` from `images` with the file at a path.
        needs: packages that are not installed with this one.
    """

    part: str
    content: Callable[[Encoder, Path], bytes]
    usage: Callable[[Encoder, Path], list[str]]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Agreement:
    """How the written file was found to agree with the model.

    Attributes:
        random, real: largest absolute difference of outputs on so many noise images, and on images
            of the run's data; None where there were none.
        left_out: images not compared, as one of their gates is too close to its threshold.
    """

    random: float
    real: float | None
    left_out: int


def require_installed(format_name: str) -> None:
    """Raises `InputError` if a format needs packages that are not there."""
    missing = [name for name in FORMATS[format_name].needs if find_spec(name) is None]
    if missing:
        raise InputError(
            f"--format {format_name} needs {', '.join(missing)}, not installed here: "
            f'pip install "solo-bayesncl[{format_name}]"'
        )


def export(
    encoder: Encoder, format_name: str, out: Path, real_images: Tensor | None = None
) -> Agreement:
    """Writes a file, loads it with the library that it is for, and compares.

    Args:
        encoder: the model, on the CPU.
        format_name: one of `FORMATS`.
        out: the file to write; where one is, it is replaced.
        real_images: (N, 3, H, W), normalised, to compare outputs on besides noise.

    Raises:
        InputError: if the format cannot hold the model, the file cannot be written, or what it
            computes is not what the model computes; no file is left then.
    """
    chosen = FORMATS[format_name]
    found: list[Agreement] = []

    def check(written: Path) -> None:
        found.append(_compared(encoder, format_name, written, real_images))

    content = chosen.content(encoder, out)
    try:
        files.write_bytes(out, content, check)
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {error}.") from error
    return found[0]


def image_shape(encoder: Encoder) -> tuple[int, int, int]:
    """(3, H, W) of the images that the encoder's transform makes."""
    return tuple(encoder.transform(Image.new("RGB", (8, 8))).shape)


@torch.no_grad()
def _compared(
    encoder: Encoder, format_name: str, written: Path, real_images: Tensor | None
) -> Agreement:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(RANDOM_IMAGES, *image_shape(encoder), generator=generator)
    given = [noise] if real_images is None else [noise, real_images]
    differences, left_out = [], 0
    for images in given:
        decided = _decided(encoder, images)
        left_out += len(images) - len(decided)
        differences.append(_difference(encoder, format_name, written, decided))
    return Agreement(differences[0], (*differences, None)[1], left_out)


def _decided(encoder: Encoder, images: Tensor) -> Tensor:
    """The images of which no gate is on its threshold; all of them if there is no such image."""
    probs, options = encoder.encode(images).probs, getattr(encoder.model, "code_options", {})
    if probs is None or options.get("gate_type") == "soft":
        return images
    clear = ((probs - options["gate_threshold"]).abs() > UNDECIDED).all(dim=1)
    return images[clear] if clear.any() else images


def _difference(encoder: Encoder, format_name: str, written: Path, images: Tensor) -> float:
    chosen = FORMATS[format_name]
    names: dict[str, Any] = {"images": images}
    try:
        # our own lines, just as they are printed: what people are told is what was tried
        exec("\n".join(chosen.usage(encoder, written)), names)
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        reason = textwrap.shorten(str(error), 300)
        raise InputError(
            f"{format_name} does not load backbone.name={_backbone(encoder)} with "
            f"backbone.kwargs={_kwargs(encoder)} as it was exported: {reason}"
            f"{_alternative(format_name)}"
        ) from error
    expected = encoder(images) if chosen.part == "encoder" else encoder.model(images)["feats"]
    outputs = names["outputs"]
    scale = max(1.0, float(expected.abs().max()))
    difference = torch.inf
    if outputs.shape == expected.shape:
        difference = float((outputs - expected).abs().max())
    if not difference <= TOLERANCE * scale:
        raise InputError(
            f"What {format_name} computes with the written file differs from the model by "
            f"{difference:.3g}, where at most {TOLERANCE * scale:.3g} is rounding, so the file was "
            f"not kept.{_alternative(format_name)}"
        )
    return difference


def _alternative(format_name: str) -> str:
    return "" if format_name == "safetensors" else " Choose --format safetensors."


def _backbone(encoder: Encoder) -> str:
    return encoder.settings["backbone"]["name"]


def _kwargs(encoder: Encoder) -> dict[str, Any]:
    """What the backbone was built with, but for what concerns its random start alone."""
    kwargs = encoder.settings["backbone"].get("kwargs") or {}
    return {name: value for name, value in kwargs.items() if name != "zero_init_residual"}


def _arguments(kwargs: dict[str, Any]) -> str:
    # a record comes with a checkpoint, and these lines are run
    for name, value in kwargs.items():
        if not str(name).isidentifier() or keyword.iskeyword(name):
            raise InputError(f"backbone.kwargs: {name!r} is no name of an argument.")
        try:
            json.dumps(value, allow_nan=False)
        except ValueError as error:
            raise InputError(
                f"backbone.kwargs.{name}={value}: give finite numbers, nan and infinities have no "
                "literal in Python."
            ) from error
    return ", ".join(f"{name}={value!r}" for name, value in kwargs.items())


def _is_resnet(encoder: Encoder) -> bool:
    return isinstance(encoder.model.backbone, torchvision.models.ResNet)


def has_cifar_stem(encoder: Encoder) -> bool:
    """Whether a ResNet begins with solo-learn's 3x3 convolution in place of 7x7 and pooling."""
    return _is_resnet(encoder) and isinstance(encoder.model.backbone.maxpool, nn.Identity)


def _plain(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in weights.items()}


def _pickled(weights: dict[str, Tensor]) -> bytes:
    content = io.BytesIO()
    torch.save(_plain(weights), content)
    return content.getvalue()


def _torchvision_content(encoder: Encoder, out: Path) -> bytes:
    if not _is_resnet(encoder):
        raise InputError(
            f"--format torchvision holds ResNets; backbone.name={_backbone(encoder)} is built "
            "otherwise in torchvision. Choose --format timm or safetensors."
        )
    return _pickled(encoder.model.backbone.state_dict())


def _torchvision_usage(encoder: Encoder, path: Path) -> list[str]:
    return [
        "import torch, torchvision",
        *_resnet(encoder),
        f"backbone.load_state_dict(torch.load({str(path)!r}, weights_only=True))",
        "outputs = backbone.eval()(images)",
    ]


def _resnet(encoder: Encoder) -> list[str]:
    """Lines that build the backbone with torchvision."""
    lines = [
        f"backbone = torchvision.models.{_backbone(encoder)}({_arguments(_kwargs(encoder))})",
        "backbone.fc = torch.nn.Identity()",
    ]
    if has_cifar_stem(encoder):
        lines += [
            "# solo-learn's stem for CIFAR, which torchvision does not have",
            "backbone.conv1 = torch.nn.Conv2d(3, 64, 3, stride=1, padding=2, bias=False)",
            "backbone.maxpool = torch.nn.Identity()",
        ]
    return lines


def _timm_name(encoder: Encoder) -> str | None:
    """timm's model with the layout of solo-learn's backbone, None if there is none."""
    name = _backbone(encoder)
    suffixes = {
        "resnet": "",
        "vit_": "_patch16_224",
        "swin_": "_patch4_window7_224",
        "convnext": "",
    }
    names = [name + suffix for family, suffix in suffixes.items() if name.startswith(family)]
    return next(filter(timm.is_model, names), None)


def _timm_content(encoder: Encoder, out: Path) -> bytes:
    if has_cifar_stem(encoder):
        raise InputError(
            "--format timm: the run has solo-learn's 3x3 stem for CIFAR, which timm's ResNets "
            "cannot be given. Choose --format torchvision, which says what to change, or "
            "safetensors."
        )
    if _timm_name(encoder) is None:
        raise InputError(
            f"--format timm holds ResNets, ViT, Swin and ConvNeXt; backbone.name="
            f"{_backbone(encoder)} is solo-learn's own. Choose --format safetensors."
        )
    weights = encoder.model.backbone.state_dict()
    if out.suffix == ".safetensors":  # timm goes by the suffix
        return safetensors.torch.save(_plain(weights))
    return _pickled(weights)


def _timm_usage(encoder: Encoder, path: Path) -> list[str]:
    arguments = {"num_classes": 0, "checkpoint_path": str(path), **_kwargs(encoder)}
    return [
        "import timm",
        f"backbone = timm.create_model({_timm_name(encoder)!r}, {_arguments(arguments)})",
        "outputs = backbone.eval()(images)",
    ]


def _safetensors_content(encoder: Encoder, out: Path) -> bytes:
    weights = encoder.model.state_dict()
    return safetensors.torch.save(
        _plain({name: value for name, value in weights.items() if name.startswith(PARTS)}),
        {"settings": json.dumps(encoder.settings), "classes": json.dumps(encoder.classes)},
    )


def _safetensors_usage(encoder: Encoder, path: Path) -> list[str]:
    heads = {
        name: getattr(encoder.model, name)
        for name in ("projector", "gating_head")
        if hasattr(encoder.model, name)
    }
    plain = heads and not hasattr(encoder.model, "predictor") and all(map(_is_mlp, heads.values()))
    if not _is_resnet(encoder) or not plain:
        return [
            "import solo_bayesncl",
            f"outputs = solo_bayesncl.load_encoder({str(path)!r})(images)",
        ]
    options = getattr(encoder.model, "code_options", {"non_neg": None})
    return [
        "import torch, torchvision, safetensors.torch",
        "from solo_bayesncl.nn import mlp  # these two need no solo-learn",
        "from solo_bayesncl.objective import encode",
        *_resnet(encoder),
        "parts = torch.nn.ModuleDict({'backbone': backbone})",
        *(f"parts[{name!r}] = mlp({_widths(head)})" for name, head in heads.items()),
        f"parts.load_state_dict(safetensors.torch.load_file({str(path)!r}))",
        "feats = parts.eval()['backbone'](images)",
        f"heads = [parts[name](feats) for name in {list(heads)}]",
        f"outputs = encode(*heads, {_arguments(options)}).codes",
    ]


def _is_mlp(head: nn.Module) -> bool:
    layers = list(head) if isinstance(head, nn.Sequential) else [head]
    return all(isinstance(layer, (nn.Linear, nn.ReLU)[i % 2]) for i, layer in enumerate(layers))


def _widths(head: nn.Sequential) -> str:
    """Arguments of `solo_bayesncl.nn.mlp`: widths of input, hidden layers and output, depth."""
    layers = [layer for layer in head if isinstance(layer, nn.Linear)]
    return (
        f"{layers[0].in_features}, {layers[0].out_features}, {layers[-1].out_features}, "
        f"depth={len(layers)}"
    )


def _onnx_content(encoder: Encoder, out: Path) -> bytes:
    import onnx

    images = torch.zeros(2, *image_shape(encoder))
    names = {"input_names": ["images"], "output_names": ["codes"], "opset_version": ONNX_OPSET}
    try:
        if _HAS_DYNAMO:
            batch = torch.export.Dim("batch")
            program = torch.onnx.export(
                encoder,
                (images,),
                **names,
                dynamo=True,
                dynamic_shapes=({0: batch},),
                verbose=False,
            )
            model = program.model_proto
        else:
            written = io.BytesIO()
            axes = {"images": {0: "batch"}, "codes": {0: "batch"}}
            torch.onnx.export(encoder, (images,), written, **names, dynamic_axes=axes)
            model = onnx.load_model_from_string(written.getvalue())
    except Exception as error:  # the exporter raises what it likes for operations it does not know
        raise InputError(
            f"--format onnx: torch {torch.__version__} cannot export backbone.name="
            f"{_backbone(encoder)}: {textwrap.shorten(str(error), 300)} Choose --format "
            "safetensors."
        ) from error
    onnx.helper.set_model_props(model, {"settings": json.dumps(encoder.settings)})
    return model.SerializeToString()


def _onnx_usage(encoder: Encoder, path: Path) -> list[str]:
    return [
        "import onnxruntime, torch",
        f"session = onnxruntime.InferenceSession({str(path)!r})",
        "outputs = torch.from_numpy(session.run(['codes'], {'images': images.numpy()})[0])",
    ]


# torch before 2.5 has only the exporter that later ones keep under dynamo=False
_HAS_DYNAMO = "dynamo" in inspect.signature(torch.onnx.export).parameters

FORMATS = {
    "torchvision": Format("backbone", _torchvision_content, _torchvision_usage),
    "timm": Format("backbone", _timm_content, _timm_usage),
    "safetensors": Format("encoder", _safetensors_content, _safetensors_usage),
    "onnx": Format(
        "encoder",
        _onnx_content,
        _onnx_usage,
        needs=("onnx", "onnxruntime", *(["onnxscript"] if _HAS_DYNAMO else [])),
    ),
}
