"""solo-learn main (GitHub, 1.0.3 and later, `lightning` 2.x)."""

from collections.abc import Callable
from functools import partial

import lightning.pytorch as pl
import solo.methods.linear
from lightning.pytorch.strategies import DDPStrategy
from omegaconf import DictConfig, OmegaConf
from solo.args import linear as linear_args
from solo.args import pretrain as pretrain_args
from solo.data import classification_dataloader, pretrain_dataloader
from solo.methods import METHODS
from solo.methods.base import BaseMethod
from solo.methods.linear import LinearModel
from solo.methods.simclr import SimCLR
from solo.utils.checkpointer import Checkpointer as SoloCheckpointer
from solo.utils.knn import WeightedKNNClassifier as KNN  # noqa: N814
from solo.utils.misc import make_contiguous
from torch import nn

from solo_bayesncl.hosts.common import (
    WholeCheckpoints,
    cap_top_k,
    dali_missing,
    default,
    headless,
    on_cpu_without_cuda,
    resize_dali_probe,
)
from solo_bayesncl.transforms import statistics

__all__ = ["KNN", "METHODS", "BaseMethod", "Checkpointer", "SimCLR", "pl"]

NAME = "solo-learn main"
FORMATS = ("image_folder", "dali", "h5")
MORE = ""

solo.methods.linear.accuracy_at_k = cap_top_k(solo.methods.linear.accuracy_at_k)


class Checkpointer(WholeCheckpoints, SoloCheckpointer):
    """solo-learn's, with whole checkpoints and the last epoch's."""


def method_names() -> tuple[str, ...]:
    return tuple(name for name in METHODS if name not in ("base", "linear"))


def backbone_names() -> tuple[str, ...]:
    return tuple(BaseMethod._BACKBONES)


def check(cfg: DictConfig) -> None:
    """Refuses nothing: this release has every switch of the recipes."""


def pretrain_cfg(cfg: DictConfig) -> DictConfig:
    default(cfg, "dali.device", "gpu")
    return pretrain_args.parse_cfg(cfg)


def linear_cfg(cfg: DictConfig) -> DictConfig:
    default(cfg, "dali.device", "gpu")
    return linear_args.parse_cfg(cfg)


def build(cfg: DictConfig) -> BaseMethod:
    model = METHODS[cfg.method](cfg)
    # a list of omegaconf's in the optimizer's state could not be loaded when resuming
    model.extra_optimizer_args = OmegaConf.to_container(
        OmegaConf.create(model.extra_optimizer_args)
    )
    make_contiguous(model)
    return model


def backbone(name: str, method: str, kwargs: dict, cifar_stem: bool) -> nn.Module:
    return headless(BaseMethod._BACKBONES[name](method, **kwargs), name, cifar_stem)


def linear_model(backbone, cfg: DictConfig, loss_func=None, mixup_func=None) -> LinearModel:
    model = LinearModel(backbone, cfg=cfg, loss_func=loss_func, mixup_func=mixup_func)
    model.extra_optimizer_args = OmegaConf.to_container(
        OmegaConf.create(model.extra_optimizer_args)
    )
    make_contiguous(model)
    return model


def _crops(cfg: DictConfig, build_transform: Callable):
    """All crops of an image; `build_transform` takes the data set's name and an augmentation."""
    return pretrain_dataloader.FullTransformPipeline(
        [
            pretrain_dataloader.NCropAugmentation(
                build_transform(cfg.data.dataset, augmentation), augmentation.num_crops
            )
            for augmentation in cfg.augmentations
        ]
    )


def pretrain_transform(cfg: DictConfig):
    return _crops(cfg, pretrain_dataloader.build_transform_pipeline)


def pretrain_loader(cfg: DictConfig):
    dataset = pretrain_dataloader.prepare_datasets(
        cfg.data.dataset,
        pretrain_transform(cfg),
        train_data_path=cfg.data.train_path,
        data_format=cfg.data.format,
        no_labels=cfg.data.no_labels,
        data_fraction=cfg.data.fraction,
    )
    return pretrain_dataloader.prepare_dataloader(
        dataset, batch_size=cfg.optimizer.batch_size, num_workers=cfg.data.num_workers
    )


def labelled_loaders(cfg: DictConfig, train_transform, val_transform):
    train, val = classification_dataloader.prepare_datasets(
        cfg.data.dataset,
        train_transform,
        val_transform,
        train_data_path=cfg.data.train_path,
        val_data_path=cfg.data.val_path,
        data_format="image_folder" if cfg.data.format == "dali" else cfg.data.format,
        data_fraction=cfg.data.get("fraction", -1),
    )
    return classification_dataloader.prepare_dataloaders(
        train, val, batch_size=cfg.optimizer.batch_size, num_workers=cfg.data.num_workers
    )


def dali_pretrain(cfg: DictConfig) -> pl.LightningDataModule:
    dali = _dali()
    build = partial(dali.build_transform_pipeline_dali, dali_device=cfg.dali.device)

    class GloballyNumbered(dali.PretrainDALIDataModule):
        """Numbers samples by the global rank: by the local one, nodes share their numbers."""

        def setup(self, stage=None):
            super().setup(stage)
            self.train_loader.model_rank = self.trainer.global_rank

    return GloballyNumbered(
        dataset=cfg.data.dataset,
        train_data_path=cfg.data.train_path,
        transforms=_crops(cfg, build),
        num_large_crops=cfg.data.num_large_crops,
        num_small_crops=cfg.data.num_small_crops,
        num_workers=cfg.data.num_workers,
        batch_size=cfg.optimizer.batch_size,
        no_labels=cfg.data.no_labels,
        data_fraction=cfg.data.fraction,
        dali_device=cfg.dali.device,
        encode_indexes_into_labels=cfg.dali.encode_indexes_into_labels,
    )


def dali_linear(cfg: DictConfig) -> pl.LightningDataModule:
    dali = _dali()
    module = dali.ClassificationDALIDataModule(
        dataset=cfg.data.dataset,
        train_data_path=cfg.data.train_path,
        val_data_path=cfg.data.val_path,
        num_workers=cfg.data.num_workers,
        batch_size=cfg.optimizer.batch_size,
        data_fraction=cfg.data.fraction,
        dali_device=cfg.dali.device,
    )
    crop = cfg.data.augmentations

    class Resized(module.pipeline_class):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            if not self.validation:
                resize_dali_probe(self, crop.crop_size, *statistics(cfg.data.dataset, crop))

    module.pipeline_class = Resized
    return module


def _dali():
    """The host's DALI module, whose builders ask for a GPU's id even on the CPU device."""
    try:
        from solo.data import dali_dataloader
    except ImportError as error:
        raise dali_missing(error) from error

    def device_id(self):
        return None if on_cpu_without_cuda(self.device) else self._rank

    def keep_rank(self, rank):
        self._rank = rank

    for builder in (dali_dataloader.PretrainPipelineBuilder, dali_dataloader.NormalPipelineBuilder):
        builder.device_id = property(device_id, keep_rank)
    return dali_dataloader


def precision(value: str | int) -> str | int:
    return value


def strategy(name: str | None):
    return DDPStrategy(find_unused_parameters=False) if name == "ddp" else name or "auto"
