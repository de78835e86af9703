"""Backbones and the linear probe of solo-learn 1.0.2 with main's optimisation."""

from typing import Any

import solo.methods.base
import solo.methods.linear
from omegaconf import DictConfig
from solo.utils import backbones
from torch import nn
from torchvision import models

from solo_bayesncl.adapters.shared import remove_head
from solo_bayesncl.adapters.v1_0_2.optimizers import OptimizationMixin, arguments_of


def backbone_names() -> tuple[str, ...]:
    return tuple(solo.methods.base.BaseMethod._SUPPORTED_ENCODERS)


def backbone(name: str, method: str | None, kwargs: dict, cifar_stem: bool) -> nn.Module:
    resnets = {"resnet18": models.resnet18, "resnet50": models.resnet50}
    builder = resnets.get(name) or getattr(backbones, name)
    if "swin" in name and cifar_stem:
        kwargs = {**kwargs, "window_size": 4}
    return remove_head(builder(**kwargs), name, cifar_stem)


class LinearModel(OptimizationMixin, solo.methods.linear.LinearModel):
    """The release's linear probe with main's optimisation."""

    def __init__(self, backbone: nn.Module, cfg: DictConfig):
        super().__init__(backbone, **arguments_of(cfg))
        self.cfg = cfg

    def configure_optimizers(self):
        # main does not scale the learning rate of the probe by accumulation
        return self.optimizers_for(self.classifier.parameters(), self.cfg, accumulate=1)


def linear_model(backbone: nn.Module, cfg: DictConfig, loss_func=None, mixup_func=None) -> Any:
    return LinearModel(backbone, cfg)
