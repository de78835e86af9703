"""solo-learn 1.0.2 (PyPI), made to mean what main means.

Its methods take keyword arguments, call the backbone `encoder`, schedule per epoch, and on today's
torch its LARS does nothing, its loss stays within one process and its `gather` has a wrong
gradient. All of this is put right here, from outside; when solo-learn publishes main on PyPI, this
file goes.
"""

import argparse
import inspect
import warnings
from functools import cache, partial
from pathlib import Path
from types import ModuleType

import pytorch_lightning as pl
import solo.methods
import solo.methods.base
import solo.methods.linear
import solo.methods.mocov2plus
import solo.methods.nnclr
import solo.methods.simclr
import torch
import torch.distributed as dist
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from pl_bolts.optimizers.lr_scheduler import LinearWarmupCosineAnnealingLR
from pytorch_lightning.strategies import DDPStrategy
from solo.losses.moco import moco_loss_func
from solo.utils import backbones, classification_dataloader, misc, pretrain_dataloader
from solo.utils.checkpointer import Checkpointer as SoloCheckpointer
from solo.utils.knn import WeightedKNNClassifier
from solo.utils.lars import LARSWrapper
from solo.utils.metrics import accuracy_at_k
from torch import Tensor, nn
from torch.optim.lr_scheduler import ExponentialLR, MultiStepLR
from torch.utils.data import DataLoader
from torchvision.models import resnet18, resnet50

from solo_bayesncl.adapters.shared import (
    CheckpointerMixin,
    cap_top_k,
    continue_momentum,
    dali_missing,
    default,
    headless,
    number_of_classes,
    over_processes,
)
from solo_bayesncl.data.loaders import portable
from solo_bayesncl.data.transforms import statistics
from solo_bayesncl.errors import InputError
from solo_bayesncl.losses import info_nce

METHODS = solo.methods.METHODS
NAME = "solo-learn 1.0.2"
FORMATS = ("image_folder", "dali")
MORE = " Those run here on solo-learn 1.0.2; solo-learn main (GitHub) has more."
PRECISION = {"16-mixed": 16, "bf16-mixed": "bf16", "32-true": 32, "64-true": 64}


@cache
def patch_solo_learn() -> None:
    solo.methods.linear.accuracy_at_k = cap_top_k(accuracy_at_k)
    for module in (solo.methods.base, solo.methods.linear):
        module.weighted_mean = over_processes(module.weighted_mean)


def _gather_backward(ctx, *gradients: Tensor) -> Tensor:
    """The release keeps its own process's share only; the others' belong to it as well."""
    gradients = torch.stack(gradients)
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(gradients)
        return gradients[dist.get_rank()]
    return gradients[0]


misc.GatherLayer.backward = staticmethod(_gather_backward)


class LARS(LARSWrapper):
    """The release's LARS with the closure run first: it rescaled what the closure then replaced."""

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        super().step()
        return loss


class KNN(WeightedKNNClassifier):
    """The release's kNN, whose `forward` also computed before there was anything to compute."""

    def forward(self, *args, **kwargs) -> None:
        self.update(*args, **kwargs)


class Checkpointer(CheckpointerMixin, SoloCheckpointer):
    """The release's with main's signature and record, whole checkpoints and the last epoch's."""

    def __init__(self, cfg: DictConfig, logdir: Path, frequency: int, keep_prev: bool):
        record = argparse.Namespace(**OmegaConf.to_container(cfg))
        super().__init__(record, Path(logdir), frequency)
        self.keep_prev = keep_prev


class OptimizationMixin:
    """`configure_optimizers` as in main: LARS by name, warmup and cosine per step."""

    def optimizers_of(self, params, cfg: DictConfig, accumulate: int):
        options = OmegaConf.to_container(cfg.optimizer.kwargs)
        name = cfg.optimizer.name
        lr = cfg.optimizer.lr * accumulate
        if name == "lars":
            optimizer = LARS(
                torch.optim.SGD(
                    params,
                    lr=lr,
                    weight_decay=cfg.optimizer.weight_decay,
                    momentum=options.get("momentum", 0),
                ),
                eta=options.get("eta", 1e-3),
                clip=options.get("clip_lr", False),
                exclude_bias_n_norm=options.get("exclude_bias_n_norm", False),
            )
        else:
            optimizer_class = {
                "sgd": torch.optim.SGD,
                "adam": torch.optim.Adam,
                "adamw": torch.optim.AdamW,
            }[name]
            optimizer = optimizer_class(
                params, lr=lr, weight_decay=cfg.optimizer.weight_decay, **options
            )

        scheduler = cfg.scheduler
        if scheduler.name == "warmup_cosine":
            steps = self.trainer.estimated_stepping_batches
            per_epoch = steps / cfg.max_epochs
            warmup_start_lr = scheduler.warmup_start_lr * accumulate
            with warnings.catch_warnings(record=True):  # "under review", says lightning-bolts
                warmup_cosine = LinearWarmupCosineAnnealingLR(
                    optimizer,
                    warmup_epochs=scheduler.warmup_epochs * per_epoch,
                    max_epochs=steps,
                    warmup_start_lr=warmup_start_lr if scheduler.warmup_epochs > 0 else lr,
                    eta_min=scheduler.min_lr * accumulate,
                )
            return [optimizer], [{"scheduler": warmup_cosine, "interval": "step"}]
        if scheduler.name == "step":
            return [optimizer], [MultiStepLR(optimizer, list(scheduler.lr_decay_steps))]
        if scheduler.name == "exponential":
            return [optimizer], [ExponentialLR(optimizer, cfg.optimizer.weight_decay)]
        return optimizer


class BaseMethod(OptimizationMixin, solo.methods.base.BaseMethod):
    """Main's contract on the release's base class.

    A method class is made as `class M(HostMethod, BaseMethod)`: the method's own `super()` calls
    then arrive here before the release's base class.
    """

    RENAMED = {"encoder": "backbone", "momentum_encoder": "momentum_backbone"}  # noqa: RUF012

    def __setattr__(self, name, value):
        super().__setattr__(self.RENAMED.get(name, name), value)

    def __getattr__(self, name):
        return super().__getattr__(self.RENAMED.get(name, name))

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        if self.knn_eval:
            self.knn = KNN(k=self.knn_k, distance_fx="euclidean")

    @staticmethod
    def add_and_assert_specific_cfg(cfg: DictConfig) -> DictConfig:
        for key, value in {
            "backbone.kwargs": {},
            "optimizer.kwargs": {},
            "accumulate_grad_batches": 1,
            "scheduler.lr_decay_steps": None,
            "scheduler.min_lr": 0.0,
            "scheduler.warmup_start_lr": 3e-5,
            "scheduler.warmup_epochs": 10,
            "knn_eval.enabled": False,
            "knn_eval.k": 20,
            "method_kwargs": {},
        }.items():
            default(cfg, key, value)
        return cfg

    @property
    def learnable_params(self) -> list[dict]:
        groups = super().learnable_params
        for group in groups:
            group["name"] = self.RENAMED.get(group["name"], group["name"])
        return groups

    def configure_optimizers(self):
        return self.optimizers_of(self.learnable_params, self.cfg, self.accumulate_grad_batches)

    def multicrop_forward(self, X: Tensor) -> dict:  # noqa: N803
        return {"feats": self.backbone(X)}

    def _base_shared_step(self, X: Tensor, targets: Tensor) -> dict:  # noqa: N803
        # through `self(X)`, so that what a subclass adds in `forward` reaches the training step
        out = self(X)
        logits = out["logits"]
        acc1, acc5 = accuracy_at_k(logits, targets, top_k=(1, min(5, logits.size(1))))
        loss = F.cross_entropy(logits, targets, ignore_index=-1)
        return {**out, "loss": loss, "acc1": acc1, "acc5": acc5}

    def base_training_step(self, X: Tensor, targets: Tensor) -> dict:  # noqa: N803
        return self._base_shared_step(X, targets)

    def training_step(self, batch: list, batch_idx: int) -> dict:
        _, crops, targets = batch
        crops = [crops] if isinstance(crops, Tensor) else crops
        large = self.num_large_crops
        outs = [self.base_training_step(crop, targets) for crop in crops[:large]]
        outs += [self.multicrop_forward(crop) for crop in crops[large:]]
        merged = {key: [out[key] for out in outs if key in out] for key in outs[0]}
        for key in ("loss", "acc1", "acc5"):
            merged[key] = sum(merged[key]) / large
        self.log_dict(
            {
                "train_class_loss": merged["loss"],
                "train_acc1": merged["acc1"],
                "train_acc5": merged["acc5"],
            },
            on_epoch=True,
            sync_dist=True,
        )
        if self.knn_eval:
            labelled = targets.repeat(large) != -1
            self.knn(
                train_features=torch.cat(merged["feats"][:large])[labelled].detach(),
                train_targets=targets.repeat(large)[labelled],
            )
        return merged


class FromConfigMixin:
    """Constructs a method of the release from main's configuration."""

    def __init__(self, cfg: DictConfig):
        cfg = self.add_and_assert_specific_cfg(cfg)
        lars = cfg.optimizer.name == "lars"
        backbone_args = OmegaConf.to_container(cfg.backbone.kwargs)
        if cfg.backbone.name.startswith("resnet"):
            backbone_args["cifar"] = cfg.data.dataset in ("cifar10", "cifar100")
        own = inspect.signature(super().__init__).parameters
        kwargs = OmegaConf.to_container(cfg.method_kwargs)
        super().__init__(
            **{name: value for name, value in kwargs.items() if name in own},
            **self.more_arguments(cfg),
            encoder=cfg.backbone.name,
            num_classes=cfg.data.num_classes,
            backbone_args=backbone_args,
            max_epochs=cfg.max_epochs,
            batch_size=cfg.optimizer.batch_size,
            optimizer="sgd" if lars else cfg.optimizer.name,
            lars=lars,
            lr=cfg.optimizer.lr,
            weight_decay=cfg.optimizer.weight_decay,
            classifier_lr=cfg.optimizer.classifier_lr,
            exclude_bias_n_norm=False,
            accumulate_grad_batches=cfg.accumulate_grad_batches,
            extra_optimizer_args={},
            scheduler=cfg.scheduler.name,
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
    def more_arguments(cfg: DictConfig) -> dict:
        """What a kind of method takes besides."""
        return {}


class SimCLR(FromConfigMixin, solo.methods.simclr.SimCLR, BaseMethod):
    """Main's SimCLR: one InfoNCE for any number of crops, over all processes."""

    @property
    def learnable_params(self) -> list[dict]:
        *groups, projector = super().learnable_params
        return [*groups, {"name": "projector", **projector}]

    def multicrop_forward(self, X: Tensor) -> dict:  # noqa: N803
        out = super().multicrop_forward(X)
        return {**out, "z": self.projector(out["feats"])}

    def training_step(self, batch: list, batch_idx: int) -> Tensor:
        out = BaseMethod.training_step(self, batch, batch_idx)
        z = torch.cat(out["z"])
        size = batch[-1].size(0)
        indexes = torch.arange(size, device=z.device) + self.global_rank * size
        indexes = self.positives(indexes, batch[-1]).repeat(self.num_crops)
        nce_loss = info_nce(F.normalize(z, dim=1), indexes, self.temperature)
        self.log("train_nce_loss", nce_loss, on_epoch=True, sync_dist=True)
        return nce_loss + out["loss"]

    @staticmethod
    def positives(indexes: Tensor, targets: Tensor) -> Tensor:
        """(B,), equal for images that are positives of each other."""
        return indexes


class SupCon(SimCLR):
    """Main's SupCon, which the release lacks: the images of one class are positives."""

    @staticmethod
    def positives(indexes: Tensor, targets: Tensor) -> Tensor:
        return targets


class NNCLR(FromConfigMixin, solo.methods.nnclr.NNCLR, BaseMethod):
    """Main's NNCLR: its loss takes what `forward` returns, and the queries of all processes."""

    @property
    def learnable_params(self) -> list[dict]:
        *groups, projector, predictor = super().learnable_params
        named = [{"name": "projector", **projector}, {"name": "predictor", **predictor}]
        return [*groups, *named]

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
        queries = misc.gather(F.normalize(queries, dim=-1))
        logits = neighbours @ queries.T / self.temperature
        own = torch.arange(len(neighbours), device=logits.device)
        return F.cross_entropy(logits, own + self.global_rank * len(neighbours))


class MomentumMixin:
    """Before a momentum method of the release: main's hooks, schedule and defaults."""

    @classmethod
    def add_and_assert_specific_cfg(cls, cfg: DictConfig) -> DictConfig:
        cfg = super().add_and_assert_specific_cfg(cfg)
        default(cfg, "momentum.base_tau", 0.99)
        default(cfg, "momentum.final_tau", 1.0)
        return cfg

    @staticmethod
    def more_arguments(cfg: DictConfig) -> dict:
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
    """Main's MoCo v2+: its loss takes what `forward` and `momentum_forward` return."""

    @property
    def learnable_params(self) -> list[dict]:
        *groups, projector = super().learnable_params
        return [*groups, {"name": "projector", **projector}]

    def forward(self, X: Tensor) -> dict:  # noqa: N803
        out = super().forward(X)
        return {**out, "z": out.pop("q")}

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


# the release's methods with main's contract
OWN = {"simclr": SimCLR, "supcon": SupCon, "nnclr": NNCLR, "mocov2plus": MoCoV2Plus}


def method(name: str) -> type[BaseMethod] | None:
    return OWN.get(name)


def method_names() -> tuple[str, ...]:
    return tuple({**OWN, **{name: cls for name, cls in METHODS.items() if _adaptable(cls)}})


def _adaptable(method_class: type) -> bool:
    """Whether a registered method takes a configuration or can be made to (momentum can not)."""
    if issubclass(method_class, FromConfigMixin):
        return True
    base = solo.methods.base
    is_method = issubclass(method_class, base.BaseMethod) and method_class is not base.BaseMethod
    return is_method and not issubclass(method_class, base.BaseMomentumMethod)


@cache
def _adapt(method_class: type) -> type:
    return type(method_class.__name__, (FromConfigMixin, method_class, BaseMethod), {})


def backbone_names() -> tuple[str, ...]:
    return tuple(solo.methods.base.BaseMethod._SUPPORTED_ENCODERS)


# what main's YAML can ask for and this release lacks: key, the value that asks for nothing
LACKING = {
    "data.fraction": -1,
    "auto_umap.enabled": False,
    "finetune": False,
    "auto_augment": False,
    "label_smoothing": 0,
    "mixup": 0,
    "cutmix": 0,
    "optimizer.exclude_bias_n_norm_wd": False,
    "optimizer.layer_decay": 0,
    "scheduler.interval": "step",
    "momentum.classifier": False,
    "knn_eval.distance_func": "euclidean",
}


def check(cfg: DictConfig) -> None:
    """Refuses what this release lacks.

    Raises:
        InputError: names the key and the release that has it.
    """
    asked = [
        key for key, nothing in LACKING.items() if OmegaConf.select(cfg, key) not in (None, nothing)
    ]
    for index, augmentation in enumerate(cfg.get("augmentations", [])):
        if not augmentation.rrc.enabled:
            asked.append(f"augmentations.{index}.rrc.enabled")
        if augmentation.get("equalization", {}).get("prob"):
            asked.append(f"augmentations.{index}.equalization.prob")
    if asked:
        raise InputError(
            f"{NAME} lacks what these settings ask for: "
            + ", ".join(f"{key}={OmegaConf.select(cfg, key)}" for key in asked)
            + ". Remove them, or install solo-learn main (GitHub), which has them."
        )


def _shared_cfg(cfg: DictConfig) -> DictConfig:
    for key, value in {
        "checkpoint.enabled": False,
        "checkpoint.dir": "trained_models",
        "checkpoint.frequency": 1,
        "checkpoint.keep_prev": False,
        "auto_resume.enabled": False,
        "auto_resume.max_hours": 36,
        "dali.device": "gpu",
        "dali.encode_indexes_into_labels": False,
        "data.format": "image_folder",
        "data.no_labels": False,
        "wandb.enabled": False,
        "wandb.entity": None,
        "wandb.project": "solo-learn",
        "wandb.offline": False,
        "seed": 5,
        "num_nodes": 1,
        "optimizer.kwargs": {},
    }.items():
        default(cfg, key, value)
    cfg.data.val_path = cfg.data.get("val_path")
    cfg.resume_from_checkpoint = cfg.get("resume_from_checkpoint")
    cfg.data.num_classes = number_of_classes(cfg)
    if cfg.optimizer.name in ("sgd", "lars"):
        default(cfg, "optimizer.kwargs.momentum", 0.9)
    if cfg.optimizer.name == "lars":
        default(cfg, "optimizer.kwargs.eta", 1e-3)
        default(cfg, "optimizer.kwargs.clip_lr", False)
        default(cfg, "optimizer.kwargs.exclude_bias_n_norm", False)
    return cfg


def _lr_scale(cfg: DictConfig) -> float:
    return cfg.optimizer.batch_size * len(cfg.devices) * cfg.num_nodes / 256


def pretrain_cfg(cfg: DictConfig) -> DictConfig:
    cfg = _shared_cfg(cfg)
    big = cfg.augmentations[0].crop_size
    cfg.data.num_large_crops = sum(a.num_crops for a in cfg.augmentations if a.crop_size == big)
    cfg.data.num_small_crops = sum(a.num_crops for a in cfg.augmentations if a.crop_size != big)
    cfg.optimizer.lr *= _lr_scale(cfg)
    if cfg.data.val_path is not None:
        cfg.optimizer.classifier_lr *= _lr_scale(cfg)
    return cfg


def linear_cfg(cfg: DictConfig) -> DictConfig:
    cfg = _shared_cfg(cfg)
    for key, value in {
        "accumulate_grad_batches": 1,
        "scheduler.lr_decay_steps": None,
        "scheduler.min_lr": 0.0,
        "scheduler.warmup_start_lr": 3e-5,
        "scheduler.warmup_epochs": 10,
        "data.augmentations.crop_size": 224,
    }.items():
        default(cfg, key, value)
    cfg.optimizer.lr *= _lr_scale(cfg)
    return cfg


def build(cfg: DictConfig) -> BaseMethod:
    method = OWN.get(cfg.method) or METHODS[cfg.method]
    return (method if issubclass(method, FromConfigMixin) else _adapt(method))(cfg)


def backbone(name: str, method: str, kwargs: dict, cifar_stem: bool) -> nn.Module:
    builders = {"resnet18": resnet18, "resnet50": resnet50}
    builder = builders.get(name) or getattr(backbones, name)
    if "swin" in name and cifar_stem:
        kwargs = {**kwargs, "window_size": 4}
    return headless(builder(**kwargs), name, cifar_stem)


class LinearModel(OptimizationMixin, solo.methods.linear.LinearModel):
    """The release's linear probe with main's optimisation."""

    def __init__(self, backbone: nn.Module, cfg: DictConfig):
        super().__init__(
            backbone,
            num_classes=cfg.data.num_classes,
            max_epochs=cfg.max_epochs,
            batch_size=cfg.optimizer.batch_size,
            optimizer=cfg.optimizer.name,
            lars=cfg.optimizer.name == "lars",
            lr=cfg.optimizer.lr,
            weight_decay=cfg.optimizer.weight_decay,
            exclude_bias_n_norm=False,
            extra_optimizer_args={},
            scheduler=cfg.scheduler.name,
        )
        self.cfg = cfg

    def configure_optimizers(self):
        # main scales the learning rate of the probe by no accumulation
        return self.optimizers_of(self.classifier.parameters(), self.cfg, accumulate=1)


def linear_model(backbone: nn.Module, cfg: DictConfig, loss_func=None, mixup_func=None):
    return LinearModel(backbone, cfg)


def _augmentation_options(cfg: DictConfig, augmentation: DictConfig) -> dict:
    """Keyword arguments of the release's transforms from main's YAML."""
    mean, std = statistics(cfg.data.dataset, augmentation)
    jitter = augmentation.color_jitter
    return {
        "brightness": jitter.get("brightness", 0),
        "contrast": jitter.get("contrast", 0),
        "saturation": jitter.get("saturation", 0),
        "hue": jitter.get("hue", 0),
        "color_jitter_prob": jitter.prob,
        "gray_scale_prob": augmentation.grayscale.prob,
        "horizontal_flip_prob": augmentation.horizontal_flip.prob,
        "gaussian_prob": augmentation.gaussian_blur.prob,
        "solarization_prob": augmentation.solarization.prob,
        "min_scale": augmentation.rrc.crop_min_scale,
        "max_scale": augmentation.rrc.crop_max_scale,
        "crop_size": augmentation.crop_size,
        "mean": mean,
        "std": std,
    }


def pretrain_transform(cfg: DictConfig):
    return pretrain_dataloader.prepare_n_crop_transform(
        [
            pretrain_dataloader.CustomTransform(**_augmentation_options(cfg, augmentation))
            for augmentation in cfg.augmentations
        ],
        num_crops_per_aug=[augmentation.num_crops for augmentation in cfg.augmentations],
    )


def pretrain_loader(cfg: DictConfig):
    dataset = pretrain_dataloader.prepare_datasets(
        cfg.data.dataset,
        pretrain_transform(cfg),
        data_dir=Path(),
        train_dir=cfg.data.train_path,
        no_labels=cfg.data.no_labels,
    )
    return pretrain_dataloader.prepare_dataloader(
        portable(dataset),
        batch_size=cfg.optimizer.batch_size,
        num_workers=cfg.data.num_workers,
    )


def labelled_loaders(cfg: DictConfig, train_transform, val_transform):
    train, val = classification_dataloader.prepare_datasets(
        cfg.data.dataset,
        train_transform,
        val_transform,
        data_dir=Path(),
        train_dir=cfg.data.train_path,
        val_dir=cfg.data.val_path,
    )
    return classification_dataloader.prepare_dataloaders(
        train, val, batch_size=cfg.optimizer.batch_size, num_workers=cfg.data.num_workers
    )


def dali_pretrain(cfg: DictConfig) -> pl.LightningDataModule:
    dali, transform = _dali()

    def make_crops():
        return pretrain_dataloader.FullTransformPipeline(
            [
                pretrain_dataloader.NCropAugmentation(
                    transform(device=cfg.dali.device, **_augmentation_options(cfg, augmentation)),
                    augmentation.num_crops,
                )
                for augmentation in cfg.augmentations
            ]
        )

    return dali.data_module(pl, partial(dali.DALILoader, pretrain_loader(cfg), make_crops, cfg))


def dali_linear(cfg: DictConfig, train_loader: DataLoader) -> pl.LightningDataModule:
    dali, _ = _dali()
    make_crops = partial(dali.probe_crops, cfg)
    return dali.data_module(pl, partial(dali.LabelledLoader, train_loader, make_crops, cfg))


def _dali() -> tuple[ModuleType, type]:
    """Our loaders and the release's augmentations; both need DALI."""
    try:
        from solo.utils.dali_dataloader import CustomTransform

        from solo_bayesncl.adapters import dali
    except ImportError as error:
        raise dali_missing(error) from error
    return dali, CustomTransform


def precision(value: str | int) -> str | int:
    return PRECISION.get(value, value)


def strategy(name: str | None):
    if name == "ddp":
        return DDPStrategy(find_unused_parameters=False)
    return None if name == "auto" else name
