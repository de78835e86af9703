"""The backbones of solo-learn 1.0.2, which has no registry of them that could be extended."""

from collections.abc import Callable
from functools import partial

from solo.methods.base import BaseMethod
from solo.utils import backbones
from torch import nn
from torchvision import models

from solo_bayesncl.adapters.shared import remove_head


def _build(name: str, **kwargs) -> nn.Module:
    return getattr(models if name.startswith("resnet") else backbones, name)(**kwargs)


BACKBONES: dict[str, Callable[..., nn.Module]] = {
    name: partial(_build, name) for name in BaseMethod._SUPPORTED_ENCODERS
}


def backbone_names() -> tuple[str, ...]:
    return tuple(BACKBONES)


def backbone(name: str, method: str | None, kwargs: dict, cifar_stem: bool) -> nn.Module:
    if "swin" in name and cifar_stem:
        kwargs = {**kwargs, "window_size": 4}
    return remove_head(BACKBONES[name](**kwargs), name, cifar_stem)
