"""A ResNet's `state_dict` for torchvision."""

from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from solo_bayesncl.adapters.shared import remove_head
from solo_bayesncl.errors import InputError
from solo_bayesncl.sharing.formats.base import Format, pickled, to_source


class ResNetFormat(Format):
    """A format that builds ResNets with torchvision."""

    def build_resnet(self) -> nn.Module:
        resnet = getattr(torchvision.models, self.backbone_name)(**self.backbone_kwargs)
        return remove_head(resnet, self.backbone_name, self.has_cifar_stem)

    def resnet_usage(self) -> list[str]:
        """Lines that do the same."""
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


class TorchvisionFormat(ResNetFormat):
    """The backbone's `state_dict`."""

    name = "torchvision"
    outputs = "features"

    def content(self, out: Path) -> bytes:
        if not self.is_resnet:
            raise InputError(
                f"--format torchvision holds ResNets; backbone.name={self.backbone_name} is built "
                "otherwise in torchvision. Choose --format timm or safetensors."
            )
        return pickled(self.backbone.state_dict())

    def load(self, path: Path) -> Callable[[Tensor], Tensor]:
        backbone = self.build_resnet()
        backbone.load_state_dict(torch.load(path, weights_only=True))
        return backbone.eval()

    def usage(self, path: Path) -> list[str]:
        return [
            "import torch, torchvision",
            *self.resnet_usage(),
            f"backbone.load_state_dict(torch.load({str(path)!r}, weights_only=True))",
            "outputs = backbone.eval()(images)",
        ]
