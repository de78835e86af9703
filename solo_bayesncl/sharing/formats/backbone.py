"""A backbone's weights for torchvision and for timm."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
import torchvision
from torch import Tensor, nn

from solo_bayesncl.adapters.backbones import SMALL_RESNET, SMALL_RESNET_BASE
from solo_bayesncl.adapters.shared import remove_head
from solo_bayesncl.errors import ArgumentError
from solo_bayesncl.sharing.encoder import Encoder
from solo_bayesncl.sharing.formats.base import Format, contiguous, pickled, to_source

# family of solo-learn's backbones -> what timm adds to their names
TIMM_SUFFIXES = {
    "resnet": "",
    "vit_": "_patch16_224",
    "swin_": "_patch4_window7_224",
    "convnext": "",
}


class TorchvisionFormat(Format):
    """A ResNet's `state_dict`."""

    name = "torchvision"
    outputs = "features"

    def content(self, out: Path) -> bytes:
        if not self.is_resnet:
            raise ArgumentError(
                "format", self.name,
                f" holds torchvision's ResNets, not backbone.name={self.backbone_name}. Choose "
                "timm or safetensors.",
            )  # fmt: skip
        return pickled(self.backbone.state_dict())

    def load(self, path: Path) -> Callable[[Tensor], Tensor]:
        resnet = getattr(torchvision.models, self.backbone_name)(**self.backbone_kwargs)
        backbone = remove_head(resnet, self.backbone_name, self.has_cifar_stem)
        backbone.load_state_dict(torch.load(path, weights_only=True))
        return backbone.eval()

    def usage(self, path: Path) -> list[str]:
        return [
            "import torch, torchvision",
            *self.resnet_usage(),
            f"backbone.load_state_dict(torch.load({str(path)!r}, weights_only=True))",
            "outputs = backbone.eval()(images)",
        ]


class TimmFormat(Format):
    """The backbone's weights, pickled or, by the suffix of the file, as safetensors."""

    name = "timm"
    outputs = "features"

    def __init__(self, encoder: Encoder):
        super().__init__(encoder)
        name = self.backbone_name
        names = [name + suffix for kind, suffix in TIMM_SUFFIXES.items() if name.startswith(kind)]
        self.timm_name: str | None = next(filter(timm.is_model, names), None)
        self.is_small_resnet = name == "small_resnet"
        if self.is_small_resnet:
            self.timm_name = SMALL_RESNET_BASE
            self.backbone_kwargs = {**SMALL_RESNET, **self.backbone_kwargs}

    def content(self, out: Path) -> bytes:
        if self.has_cifar_stem:
            raise ArgumentError(
                "format", self.name,
                ": the run has solo-learn's 3x3 stem for CIFAR, which timm's ResNets cannot be "
                "given. Choose torchvision, which says what to change, or safetensors.",
            )  # fmt: skip
        if self.timm_name is None:
            raise ArgumentError(
                "format", self.name,
                f" holds ResNets, ViT, Swin and ConvNeXt; backbone.name={self.backbone_name} is "
                "solo-learn's own. Choose safetensors.",
            )  # fmt: skip
        weights = self.backbone.state_dict()
        if out.suffix == ".safetensors":
            return safetensors.torch.save(contiguous(weights))
        return pickled(weights)

    def load(self, path: Path) -> Callable[[Tensor], Tensor]:
        backbone = timm.create_model(self.timm_name, **self._arguments(path))
        if self.is_small_resnet:
            backbone.maxpool = nn.Identity()
        return backbone.eval()

    def usage(self, path: Path) -> list[str]:
        arguments = to_source(self._arguments(path))
        without_pooling = ["backbone.maxpool = torch.nn.Identity()"] * self.is_small_resnet
        return [
            "import timm, torch" if self.is_small_resnet else "import timm",
            f"backbone = timm.create_model({self.timm_name!r}, {arguments})",
            *without_pooling,
            "outputs = backbone.eval()(images)",
        ]

    def _arguments(self, path: Path) -> dict[str, Any]:
        return {"num_classes": 0, "checkpoint_path": str(path), **self.backbone_kwargs}
