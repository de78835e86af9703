"""LARS and the learning-rate schedules of solo-learn 1.0.2, with main's meaning."""

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from pl_bolts.optimizers.lr_scheduler import LinearWarmupCosineAnnealingLR
from solo.utils.lars import LARSWrapper
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import ExponentialLR, MultiStepLR


class LARS(LARSWrapper):
    """The release's LARS with the closure run first, which would replace rescaled gradients.

    timm's `Lars` differs where the norm of a gradient or a weight is zero.
    """

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        super().step()
        return loss


def arguments_of(cfg: DictConfig) -> dict[str, Any]:
    """Keyword arguments of the release's methods and of its linear probe."""
    lars = cfg.optimizer.name == "lars"
    return {
        **{key: cfg.optimizer[key] for key in ("batch_size", "lr", "weight_decay")},
        "optimizer": "sgd" if lars else cfg.optimizer.name,
        "lars": lars,
        "exclude_bias_n_norm": False,
        "extra_optimizer_args": {},
        "scheduler": cfg.scheduler.name,
        "max_epochs": cfg.max_epochs,
        "num_classes": cfg.data.num_classes,
    }


class OptimizationMixin:
    """`configure_optimizers` as in main: LARS by name, warmup and cosine per step."""

    def optimizers_for(self, params: Iterable, cfg: DictConfig, accumulate: int) -> Any:
        """The result of Lightning's `configure_optimizers`.

        Args:
            params: parameters or parameter groups.
            cfg: settings with solo-learn's defaults.
            accumulate: number of accumulated batches, a factor of the learning rate.
        """
        optimizer = _optimizer(params, cfg, cfg.optimizer.lr * accumulate)
        scheduler = cfg.scheduler
        if scheduler.name == "step":
            return [optimizer], [MultiStepLR(optimizer, list(scheduler.lr_decay_steps))]
        if scheduler.name == "exponential":
            return [optimizer], [ExponentialLR(optimizer, cfg.optimizer.weight_decay)]
        if scheduler.name != "warmup_cosine":
            return optimizer
        steps = self.trainer.estimated_stepping_batches
        start = scheduler.warmup_start_lr if scheduler.warmup_epochs > 0 else cfg.optimizer.lr
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lightning-bolts warns that it is under review
            warmup_cosine = LinearWarmupCosineAnnealingLR(
                optimizer,
                warmup_epochs=scheduler.warmup_epochs * (steps / cfg.max_epochs),
                max_epochs=steps,
                warmup_start_lr=start * accumulate,
                eta_min=scheduler.min_lr * accumulate,
            )
        return [optimizer], [{"scheduler": warmup_cosine, "interval": "step"}]


def _optimizer(params: Iterable, cfg: DictConfig, lr: float) -> Optimizer:
    options = OmegaConf.to_container(cfg.optimizer.kwargs)
    shared = {"lr": lr, "weight_decay": cfg.optimizer.weight_decay}
    if cfg.optimizer.name != "lars":
        classes = {"sgd": SGD, "adam": Adam, "adamw": AdamW}
        return classes[cfg.optimizer.name](params, **shared, **options)
    return LARS(
        SGD(params, **shared, momentum=options.get("momentum", 0)),
        eta=options.get("eta", 1e-3),
        clip=options.get("clip_lr", False),
        exclude_bias_n_norm=options.get("exclude_bias_n_norm", False),
    )
