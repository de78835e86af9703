"""The transforms and loaders of solo-learn 1.0.2, by main's settings."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from solo.utils import classification_dataloader, pretrain_dataloader

from solo_bayesncl.adapters.datasets import portable, statistics
from solo_bayesncl.adapters.protocol import Crops
from solo_bayesncl.adapters.shared import loader_options, multi_crop, requires_dali


def transform_options(cfg: DictConfig, augmentation: DictConfig) -> dict[str, Any]:
    """Keyword arguments of the release's transforms from an entry of `augmentations`."""
    mean, std = statistics(cfg.data.dataset, augmentation)
    jitter = augmentation.color_jitter
    return {
        **{key: jitter.get(key, 0) for key in ("brightness", "contrast", "saturation", "hue")},
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


def pretrain_transform(cfg: DictConfig) -> Callable:
    def build(augmentation: DictConfig) -> Callable:
        return pretrain_dataloader.CustomTransform(**transform_options(cfg, augmentation))

    return multi_crop(pretrain_dataloader, cfg, build)


def pretrain_loader(cfg: DictConfig):
    dataset = pretrain_dataloader.prepare_datasets(
        cfg.data.dataset,
        pretrain_transform(cfg),
        data_dir=Path(),
        train_dir=cfg.data.train_path,
    )
    return pretrain_dataloader.prepare_dataloader(portable(dataset), **loader_options(cfg))


def labelled_loaders(cfg: DictConfig, train_transform: Callable, val_transform: Callable):
    train, val = classification_dataloader.prepare_datasets(
        cfg.data.dataset,
        train_transform,
        val_transform,
        data_dir=Path(),
        train_dir=cfg.data.train_path,
        val_dir=cfg.data.val_path,
    )
    return classification_dataloader.prepare_dataloaders(train, val, **loader_options(cfg))


def dali_augmentations(cfg: DictConfig) -> Callable[[], Crops]:
    with requires_dali():
        from solo.utils.dali_dataloader import CustomTransform

    def build(augmentation: DictConfig) -> Callable:
        return CustomTransform(device=cfg.dali.device, **transform_options(cfg, augmentation))

    return partial(multi_crop, pretrain_dataloader, cfg, build)
