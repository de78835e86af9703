"""What each format of exported files offers, and Python source of settings."""

import io
import json
import keyword
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from solo_bayesncl.errors import ArgumentError, InputError
from solo_bayesncl.sharing.encoder import Encoder


class Format(ABC):
    """A kind of exported file, for one encoder on the CPU.

    Attributes:
        name: as given to `export_run`.
        outputs: "features" of the backbone alone, or "codes" of the whole encoder.
        requires: packages that are not installed with this one.
        alternative: sentence that ends a refusal.
    """

    name: ClassVar[str]
    outputs: ClassVar[str]
    requires: ClassVar[tuple[str, ...]] = ()
    alternative: ClassVar[str] = " Choose the format safetensors."

    def __init__(self, encoder: Encoder):
        self.encoder = encoder
        self.backbone: nn.Module = encoder.model.backbone
        self.backbone_name: str = encoder.settings["backbone"]["name"]
        self.backbone_kwargs = dict(encoder.settings["backbone"].get("kwargs") or {})
        self.backbone_kwargs.pop("zero_init_residual", None)  # for random weights only
        self.is_resnet = isinstance(self.backbone, torchvision.models.ResNet)
        # solo-learn's 3x3 convolution in place of 7x7 and pooling
        self.has_cifar_stem = self.is_resnet and isinstance(self.backbone.maxpool, nn.Identity)
        self.image_shape = tuple(encoder.transform(Image.new("RGB", (8, 8))).shape)

    @abstractmethod
    def content(self, out: Path) -> bytes:
        """Content of the file `out`; raises `InputError` for a model that it cannot hold."""

    @abstractmethod
    def load(self, path: Path) -> Callable[[Tensor], Tensor]:
        """Loads a written file: a function from normalised images (N, 3, H, W) to outputs."""

    @abstractmethod
    def usage(self, path: Path) -> list[str]:
        """Lines of Python that do the same: they map `images` to `outputs`."""

    def resnet_usage(self) -> list[str]:
        """Lines of Python that build the ResNet as `backbone`, for `usage`."""
        arguments = to_source(self.backbone_kwargs)
        lines = [
            f"backbone = torchvision.models.{self.backbone_name}({arguments})",
            "backbone.fc = torch.nn.Identity()",
        ]
        if self.has_cifar_stem:
            lines += [
                "# solo-learn's stem for CIFAR, which torchvision does not have",
                "backbone.conv1 = torch.nn.Conv2d(3, 64, 3, stride=1, padding=2, bias=False)",
                "backbone.maxpool = torch.nn.Identity()",
            ]
        return lines

    @classmethod
    def require_installed(cls) -> None:
        """Raises `ArgumentError` if packages that the format requires are missing."""
        missing = [package for package in cls.requires if find_spec(package) is None]
        if missing:
            problem = f" needs {', '.join(missing)}, not installed here: "
            problem += f'pip install "solo-bayesncl[{cls.name}]"'
            raise ArgumentError("format", cls.name, problem)


def to_source(arguments: dict[str, Any]) -> str:
    """Keyword arguments as Python source.

    Raises:
        InputError: for what is not an argument with a literal: a record comes with a checkpoint,
            and users run these lines.
    """
    for name, value in arguments.items():
        if not str(name).isidentifier() or keyword.iskeyword(name):
            raise InputError(f"backbone.kwargs: {name!r} is not a name of an argument.")
        try:
            json.dumps(value, allow_nan=False)
        except ValueError as error:
            raise InputError(
                f"backbone.kwargs.{name}={value}: give finite numbers, nan and infinities have no "
                "literal in Python."
            ) from error
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def pickled(weights: dict[str, Tensor]) -> bytes:
    """Content of a file for `torch.load`."""
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    return buffer.getvalue()


def contiguous(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights as safetensors takes them."""
    return {name: value.contiguous() for name, value in weights.items()}
