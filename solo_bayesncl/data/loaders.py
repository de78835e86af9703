"""Loaders of the images that a recipe names."""

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch.utils.data import DataLoader

from solo_bayesncl.adapters import adapter
from solo_bayesncl.adapters.datasets import DOWNLOADED, NAMED
from solo_bayesncl.adapters.shared import loader_options
from solo_bayesncl.data.folders import (
    ClassFolder,
    FlatFolder,
    ImageFiles,
    IndexedClassFolder,
    IndexedFlatFolder,
)
from solo_bayesncl.errors import InputError
from solo_bayesncl.image_files import class_names

_logger = logging.getLogger(__name__)


def pretrain_loader(cfg: DictConfig) -> DataLoader:
    """Batches of (indexes, crops, targets) for pretraining; targets are -1 without labels.

    Args:
        cfg: settings with solo-learn's defaults.

    Raises:
        InputError: for folders that cannot be used.
    """
    if not has_folders(cfg):
        return adapter().pretrain_loader(cfg)
    build = IndexedFlatFolder if cfg.data.no_labels else IndexedClassFolder
    images = build(cfg.data.train_path, adapter().pretrain_transform(cfg))
    if not cfg.data.no_labels:
        _check_classes(images, cfg)
    return _training_loader(_fraction_of(images, cfg), cfg)


def labelled_loaders(
    cfg: DictConfig, train_transform: Callable, val_transform: Callable
) -> tuple[DataLoader, DataLoader]:
    """Training and validation batches of (images, targets); targets are training's, by class name.

    Args:
        cfg: settings with solo-learn's defaults.
        train_transform, val_transform: from a PIL image to a tensor.

    Raises:
        InputError: for folders that cannot be used, or a class that training lacks.
    """
    if not has_folders(cfg):
        return adapter().labelled_loaders(cfg, train_transform, val_transform)
    paths = cfg.data.train_path, cfg.data.val_path
    train = ClassFolder(paths[0], train_transform)
    _check_classes(train, cfg)
    val = ClassFolder(paths[1], val_transform, train.classes, "data.val_path")
    if Path(paths[0]).resolve() == Path(paths[1]).resolve():
        _warn(f"data.val_path is data.train_path={paths[0]}: accuracies are of training images.")
    val_loader = DataLoader(val, pin_memory=True, **loader_options(cfg))
    return _training_loader(_fraction_of(train, cfg), cfg), val_loader


def flat_loaders(
    cfg: DictConfig, train_transform: Callable, val_transform: Callable
) -> tuple[DataLoader, DataLoader]:
    """`labelled_loaders` for images without labels: their targets are -1."""
    train = training_images(cfg, train_transform)
    val = FlatFolder(cfg.data.val_path, val_transform, "data.val_path")
    val_loader = DataLoader(val, pin_memory=True, **loader_options(cfg))
    return _training_loader(train, cfg), val_loader


def has_flat_folders(cfg: DictConfig) -> bool:
    """Whether the validation images of settings without labels lie directly in a folder."""
    path = Path(cfg.data.val_path)
    return has_folders(cfg) and path.is_dir() and not class_names(path)


def training_images(cfg: DictConfig, transform: Callable) -> ImageFiles:
    """The images of a training folder as (image, label), in order; labels are -1 without labels.

    Args:
        cfg: settings for which `has_folders`.
        transform: from a PIL image to a tensor.

    Raises:
        InputError: for a folder that cannot be used.
    """
    build = FlatFolder if cfg.data.get("no_labels") else ClassFolder
    return _fraction_of(build(cfg.data.train_path, transform), cfg)


def has_folders(cfg: DictConfig) -> bool:
    """Whether the images are files in folders, which this package reads."""
    return cfg.data.dataset not in DOWNLOADED and cfg.data.format != "h5"


def _check_classes(train: ClassFolder, cfg: DictConfig) -> None:
    number = len(train.classes)
    if cfg.data.dataset in NAMED and number > NAMED[cfg.data.dataset].num_classes:
        raise InputError(
            f"data.train_path={train.root} has {number} class folders, and data.dataset="
            f"{cfg.data.dataset} has {NAMED[cfg.data.dataset].num_classes}: set "
            "data.dataset=custom, or remove folders."
        )
    if number == 1:
        _warn(f"data.train_path={train.root} has one class folder, {train.classes[0]}.")


def _training_loader(images: ImageFiles, cfg: DictConfig) -> DataLoader:
    options = loader_options(cfg)
    return DataLoader(images, shuffle=True, pin_memory=True, drop_last=True, **options)


def _fraction_of(images: ImageFiles, cfg: DictConfig) -> ImageFiles:
    """`images` with solo-learn main's choice of the share `data.fraction` of them."""
    fraction = cfg.data.get("fraction") or -1
    if fraction > 0:
        from sklearn.model_selection import train_test_split  # slow to import

        labels = [label for _, label in images.samples]
        try:
            images.samples, _ = train_test_split(
                images.samples,
                train_size=fraction,
                stratify=None if cfg.data.get("no_labels") else labels,
                random_state=42,
            )
        except ValueError as error:
            raise InputError(
                f"data.fraction={fraction} of data.train_path={cfg.data.train_path} does not "
                f"hold every class: {error} Give a larger share."
            ) from error
    return images


@cache  # once, however many loaders are made
def _warn(message: str) -> None:
    _logger.warning(message)


def worker_options(loader: DataLoader) -> dict[str, Any]:
    """The worker settings of a loader, as keyword arguments for another one.

    Samples, batches and their order (`generator`, `in_order`) are not among them.
    """
    return {
        name: getattr(loader, name)
        for name in (
            "num_workers",
            "collate_fn",
            "pin_memory",
            "timeout",
            "worker_init_fn",
            "multiprocessing_context",
            "prefetch_factor",
            "persistent_workers",
        )
    }
