"""The methods of solo-learn 1.0.2 with main's contract.

A method class is declared as `class Method(FromConfigMixin, SoloMethod, BaseMethod)`: the `super()`
calls of solo-learn's class then reach `BaseMethod` before the release's own base class.
"""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import solo.methods
import solo.methods.base
import solo.methods.mocov2plus
import solo.methods.nnclr
import solo.methods.simclr
import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from solo.losses.moco import moco_loss_func
from solo.methods import METHODS
from solo.utils import misc
from solo.utils.knn import WeightedKNNClassifier
from solo.utils.metrics import accuracy_at_k
from torch import Tensor, nn

from solo_bayesncl.adapters.shared import (
    cap_top_k,
    continue_momentum,
    global_indexes,
    set_defaults,
    zero_without_labels,
)
from solo_bayesncl.adapters.v1_0_2.backbones import BACKBONES
from solo_bayesncl.adapters.v1_0_2.optimizers import OptimizationMixin, arguments_of
from solo_bayesncl.adapters.v1_0_2.settings import OPTIMIZATION_DEFAULTS
from solo_bayesncl.losses import gather, info_nce


class KNN(WeightedKNNClassifier):
    """The release's kNN, except that `forward` only updates: computing needs both splits."""

    def forward(self, *args, **kwargs) -> None:
        self.update(*args, **kwargs)


class BaseMethod(OptimizationMixin, solo.methods.base.BaseMethod):
    """main's contract on the release's base class."""

    RENAMED = {"encoder": "backbone", "momentum_encoder": "momentum_backbone"}  # noqa: RUF012

    def __setattr__(self, name, value):
        super().__setattr__(self.RENAMED.get(name, name), value)

    def __getattr__(self, name):
        return super().__getattr__(self.RENAMED.get(name, name))

    def __init__(self, *, encoder: str, **kwargs):
        self.backbone_name = encoder  # as main's
        # The release asserts that it knows the name and takes any with "resnet" for torchvision's.
        known = encoder in solo.methods.base.BaseMethod._SUPPORTED_ENCODERS
        super().__init__(encoder=encoder if known else "vit_tiny", **kwargs)
        if self.knn_eval:
            self.knn = KNN(k=self.knn_k, distance_fx="euclidean")

    @property
    def base_model(self) -> Callable[..., nn.Module]:
        """The function that builds the backbone."""
        return BACKBONES[self.backbone_name]

    @base_model.setter
    def base_model(self, builder: Callable[..., nn.Module]) -> None:
        """Ignores the release's own, which is that of another name for a backbone it lacks."""

    @staticmethod
    def add_and_assert_specific_cfg(cfg: DictConfig) -> DictConfig:
        return set_defaults(
            cfg,
            {
                **OPTIMIZATION_DEFAULTS,
                "backbone.kwargs": {},
                "knn_eval.enabled": False,
                "knn_eval.k": 20,
                "method_kwargs": {},
            },
        )

    @property
    def learnable_params(self) -> list[dict]:
        groups = super().learnable_params
        for group in groups:
            group["name"] = self.RENAMED.get(group["name"], group["name"])
        return groups

    def configure_optimizers(self):
        return self.optimizers_for(self.learnable_params, self.cfg, self.accumulate_grad_batches)

    def multicrop_forward(self, X: Tensor) -> dict:  # noqa: N803
        return {"feats": self.backbone(X)}

    def _base_shared_step(self, X: Tensor, targets: Tensor) -> dict:  # noqa: N803
        # not `super().forward`: what a subclass adds in `forward` must reach the training step
        out = self(X)
        acc1, acc5 = cap_top_k(accuracy_at_k)(out["logits"], targets)
        loss = F.cross_entropy(out["logits"], targets, ignore_index=-1)
        return {**out, "loss": zero_without_labels(loss, targets), "acc1": acc1, "acc5": acc5}

    def base_training_step(self, X: Tensor, targets: Tensor) -> dict:  # noqa: N803
        return self._base_shared_step(X, targets)

    def training_step(self, batch: list, batch_idx: int) -> dict:
        _, crops, targets = batch
        crops = [crops] if isinstance(crops, Tensor) else crops
        large = self.num_large_crops
        outs = [self.base_training_step(crop, targets) for crop in crops[:large]]
        outs += [self.multicrop_forward(crop) for crop in crops[large:]]
        merged = {key: [out[key] for out in outs if key in out] for key in outs[0]}
        means = {key: sum(merged[key]) / large for key in ("loss", "acc1", "acc5")}
        names = ("train_class_loss", "train_acc1", "train_acc5")
        self.log_dict(dict(zip(names, means.values(), strict=True)), on_epoch=True, sync_dist=True)
        if self.knn_eval:
            labels = targets.repeat(large)
            labelled = labels != -1
            feats = torch.cat(merged["feats"][:large])
            self.knn(train_features=feats[labelled].detach(), train_targets=labels[labelled])
        return {**merged, **means}


class FromConfigMixin:
    """Mixin, listed before a solo-learn method, that constructs it from main's configuration.

    Attributes:
        head_names: names of the parameter groups of the method's own heads, in their order.
    """

    head_names: tuple[str, ...] = ()

    def __init__(self, cfg: DictConfig):
        cfg = self.add_and_assert_specific_cfg(cfg)
        backbone_args = OmegaConf.to_container(cfg.backbone.kwargs)
        if cfg.backbone.name.startswith("resnet"):
            backbone_args["cifar"] = cfg.data.dataset in ("cifar10", "cifar100")
        accepted = inspect.signature(super().__init__).parameters
        method_kwargs = OmegaConf.to_container(cfg.method_kwargs)
        super().__init__(
            **{name: value for name, value in method_kwargs.items() if name in accepted},
            **self.momentum_arguments(cfg),
            **arguments_of(cfg),
            encoder=cfg.backbone.name,
            backbone_args=backbone_args,
            classifier_lr=cfg.optimizer.classifier_lr,
            accumulate_grad_batches=cfg.accumulate_grad_batches,
            min_lr=cfg.scheduler.min_lr,
            warmup_start_lr=cfg.scheduler.warmup_start_lr,
            warmup_epochs=cfg.scheduler.warmup_epochs,
            num_large_crops=cfg.data.num_large_crops,
            num_small_crops=cfg.data.num_small_crops,
            knn_eval=cfg.knn_eval.enabled,
            knn_k=cfg.knn_eval.k,
        )
        self.cfg = cfg

    @staticmethod
    def momentum_arguments(cfg: DictConfig) -> dict[str, Any]:
        """Keyword arguments that only momentum methods take."""
        return {}

    @property
    def learnable_params(self) -> list[dict]:
        groups = super().learnable_params
        heads = groups[len(groups) - len(self.head_names) :]
        for name, group in zip(self.head_names, heads, strict=True):
            group["name"] = name
        return groups


class SimCLR(FromConfigMixin, solo.methods.simclr.SimCLR, BaseMethod):
    """main's SimCLR: one InfoNCE for any number of crops, over all processes."""

    head_names = ("projector",)

    def multicrop_forward(self, X: Tensor) -> dict:  # noqa: N803
        out = super().multicrop_forward(X)
        return {**out, "z": self.projector(out["feats"])}

    def training_step(self, batch: list, batch_idx: int) -> Tensor:
        out = BaseMethod.training_step(self, batch, batch_idx)
        z = F.normalize(torch.cat(out["z"]), dim=1)
        indexes = self.positives(batch[-1]).repeat(self.num_crops)
        nce_loss = info_nce(z, indexes, self.temperature)
        self.log("train_nce_loss", nce_loss, on_epoch=True, sync_dist=True)
        return nce_loss + out["loss"]

    def positives(self, targets: Tensor) -> Tensor:
        """(B,), equal for images that are positives of each other: here each has its own index."""
        return global_indexes(self, targets)


class SupCon(SimCLR):
    """main's SupCon, which the release lacks: images of one class are positives."""

    def positives(self, targets: Tensor) -> Tensor:
        return targets


class NNCLR(FromConfigMixin, solo.methods.nnclr.NNCLR, BaseMethod):
    """main's NNCLR, whose loss takes the outputs of `forward` and the queries of all processes."""

    head_names = ("projector", "predictor")

    def forward(self, X: Tensor) -> dict:  # noqa: N803
        out = super().forward(X)
        return {**out, "z": F.normalize(out["z"], dim=-1)}

    def training_step(self, batch: list, batch_idx: int) -> Tensor:
        targets = batch[-1]
        out = BaseMethod.training_step(self, batch, batch_idx)
        (index, first), (_, second) = (self.find_nn(z) for z in out["z"])
        query1, query2 = out["p"]
        nnclr_loss = (self._loss(first, query2) + self._loss(second, query1)) / 2
        nn_acc = (targets == self.queue_y[index]).float().mean()
        self.dequeue_and_enqueue(out["z"][0], targets)
        self.log_dict(
            {"train_nnclr_loss": nnclr_loss, "train_nn_acc": nn_acc}, on_epoch=True, sync_dist=True
        )
        return nnclr_loss + out["loss"]

    def _loss(self, neighbours: Tensor, queries: Tensor) -> Tensor:
        own = global_indexes(self, queries)
        # the gradient of the release's `gather` is that of one process only
        all_queries, _ = gather(F.normalize(queries, dim=-1), own)
        return F.cross_entropy(neighbours @ all_queries.T / self.temperature, own)


class MomentumMixin:
    """Mixin, listed before a momentum method, with main's hooks, schedule and defaults."""

    @classmethod
    def add_and_assert_specific_cfg(cls, cfg: DictConfig) -> DictConfig:
        cfg = super().add_and_assert_specific_cfg(cfg)
        return set_defaults(cfg, {"momentum.base_tau": 0.99, "momentum.final_tau": 1.0})

    @staticmethod
    def momentum_arguments(cfg: DictConfig) -> dict[str, Any]:
        return {
            "base_tau_momentum": cfg.momentum.base_tau,
            "final_tau_momentum": cfg.momentum.final_tau,
            "momentum_classifier": False,
        }

    def momentum_forward(self, X: Tensor) -> dict:  # noqa: N803
        return self.base_momentum_forward(X)

    def _shared_step_momentum(self, X: Tensor, targets: Tensor) -> dict:  # noqa: N803
        return self.momentum_forward(X)

    on_train_start = continue_momentum

    def on_train_batch_end(self, outputs, batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        step = self.trainer.global_step
        if step > self.last_step:
            for pair in self.momentum_pairs:
                self.momentum_updater.update(*pair)
            self.log("tau", self.momentum_updater.cur_tau)
            self.momentum_updater.update_tau(
                cur_step=step, max_steps=self.trainer.estimated_stepping_batches
            )
        self.last_step = step


class MoCoV2Plus(MomentumMixin, FromConfigMixin, solo.methods.mocov2plus.MoCoV2Plus, BaseMethod):
    """main's MoCo v2+, whose loss takes the outputs of `forward` and `momentum_forward`."""

    head_names = ("projector",)

    def forward(self, X: Tensor) -> dict:  # noqa: N803
        out = super().forward(X)
        return {**out, "z": out["q"]}

    @torch.no_grad()
    def momentum_forward(self, X: Tensor) -> dict:  # noqa: N803
        out = super().momentum_forward(X)
        return {**out, "z": F.normalize(self.momentum_projector(out["feats"]), dim=-1)}

    def training_step(self, batch: list, batch_idx: int) -> Tensor:
        out = solo.methods.base.BaseMomentumMethod.training_step(self, batch, batch_idx)
        query1, query2 = out["z"]
        key1, key2 = out["momentum_z"]
        queue = self.queue.clone()
        nce_loss = (
            moco_loss_func(query1, key2, queue[1], self.temperature)
            + moco_loss_func(query2, key1, queue[0], self.temperature)
        ) / 2
        self._dequeue_and_enqueue(torch.stack([misc.gather(key1), misc.gather(key2)]))
        self.log("train_nce_loss", nce_loss, on_epoch=True, sync_dist=True)
        return nce_loss + out["loss"]


_ADAPTED = {"simclr": SimCLR, "supcon": SupCon, "nnclr": NNCLR, "mocov2plus": MoCoV2Plus}


def method(name: str) -> type[Any] | None:
    return _ADAPTED.get(name)


def method_names() -> tuple[str, ...]:
    adaptable = (name for name, method_class in METHODS.items() if _adaptable(method_class))
    return tuple(dict.fromkeys([*_ADAPTED, *adaptable]))


def build(cfg: DictConfig) -> BaseMethod:
    method_class = _ADAPTED.get(cfg.method) or METHODS[cfg.method]
    if not issubclass(method_class, FromConfigMixin):
        method_class = _adapt(method_class)
    return method_class(cfg)


def _adaptable(method_class: type) -> bool:
    """Whether a registered method takes a configuration or can be made to (momentum cannot)."""
    base = solo.methods.base
    return issubclass(method_class, FromConfigMixin) or (
        issubclass(method_class, base.BaseMethod)
        and not issubclass(method_class, base.BaseMomentumMethod)
        and method_class is not base.BaseMethod
    )


@cache
def _adapt(method_class: type) -> type:
    return type(method_class.__name__, (FromConfigMixin, method_class, BaseMethod), {})
