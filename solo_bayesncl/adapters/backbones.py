"""The backbones that this package adds to those of solo-learn."""

from collections.abc import Callable
from typing import Any

import timm
from torch import nn

SMALL_RESNET_BASE = "resnet10t"  # of timm: four stages of one basic block
SMALL_RESNET: dict[str, Any] = {"stem_width": 8, "channels": [16, 32, 64, 128]}


def small_resnet(method: str | None = None, **kwargs) -> nn.Module:
    """A ResNet for small images on a laptop: (N, 3, H, W) to (N, 128), with 0.3 million parameters.

    The stem's 3x3 convolutions halve the image and do not pool.

    Args:
        method: passed by solo-learn, whose ViTs depend on it; not used.
        kwargs: of `timm.create_model`, such as `channels`.
    """
    backbone = timm.create_model(SMALL_RESNET_BASE, num_classes=0, **SMALL_RESNET | kwargs)
    backbone.maxpool = nn.Identity()
    return backbone


# not named resnet...: solo-learn takes such names for torchvision's classes
BACKBONES: dict[str, Callable[..., nn.Module]] = {"small_resnet": small_resnet}
