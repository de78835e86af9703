"""The linear probe of solo-learn 1.0.2 with main's optimisation."""

from typing import Any

import solo.methods.linear
from omegaconf import DictConfig
from torch import nn

from solo_bayesncl.adapters.v1_0_2.optimizers import OptimizationMixin, arguments_of


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
