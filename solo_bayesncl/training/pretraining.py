"""Pretraining, as solo-learn's `main_pretrain.py` does it, on any device."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from solo_bayesncl import methods
from solo_bayesncl.adapters import adapter
from solo_bayesncl.data.loaders import labelled_loaders, pretrain_loader
from solo_bayesncl.data.transforms import evaluation_transform, labelled_size, probe_transform
from solo_bayesncl.errors import InputError, require_one_of
from solo_bayesncl.recipes.checks import check_pretrain, data_errors_as_input_errors
from solo_bayesncl.recipes.image_sizes import require_image_sizes
from solo_bayesncl.recipes.machine import fit_to_machine
from solo_bayesncl.recipes.method_kwargs import METHODS, check_contrastive
from solo_bayesncl.recipes.paths import record_absolute
from solo_bayesncl.training import batches
from solo_bayesncl.training.environment import (
    check_release,
    model_errors_as_input_errors,
    prepare_solo_learn,
)
from solo_bayesncl.training.trainer import fit

# solo-learn's methods whose loss takes any number of views; ours: see `check_contrastive`
_ANY_VIEWS = ("simclr", "supcon", "wmse", "mae")


def pretrain(cfg: DictConfig, callbacks: Sequence[Any] = ()) -> Path:
    """Pretrains as solo-learn's `main_pretrain.py` does, on any device.

    Args:
        cfg: a recipe; changed in place.
        callbacks: further ones of Lightning's.

    Returns:
        The run's folder.

    Raises:
        InputError: for a recipe that cannot be run here.
    """
    cfg = prepare(cfg)
    adapter().pl.seed_everything(cfg.seed, workers=True)
    model = build(cfg)
    with data_errors_as_input_errors(cfg):
        val_loader = _val_loader(cfg)
        train_loader = pretrain_loader(cfg)
        train_batches = None
        if cfg.data.format == "dali":
            from solo_bayesncl.training.dali import pretrain_loader as of_files  # optional

            train_batches = of_files(cfg, train_loader)
        elif cfg.data.get("augment") == "batch":
            train_batches = batches.pretrain_loader(cfg, train_loader)
    return fit(model, cfg, cfg.method, train_loader, val_loader, train_batches, callbacks)


def prepare(cfg: DictConfig, data: bool = True) -> DictConfig:
    """Checks a recipe, fits it to the machine and adds solo-learn's defaults: what a run records.

    Args:
        cfg: the recipe; changed in place.
        data: whether its images must exist.

    Raises:
        InputError: for a recipe that cannot be run here.
    """
    check_pretrain(cfg, data)
    if data:
        record_absolute(cfg)
    fit_to_machine(cfg)
    prepare_solo_learn()
    methods.register()
    require_one_of(cfg.method, adapter().method_names(), "method", adapter().OTHER_RELEASE)
    check_release(cfg)
    with model_errors_as_input_errors(cfg):
        cfg = adapter().pretrain_cfg(cfg)
    _check_views(cfg)
    check_contrastive(cfg)
    return cfg


def _check_views(cfg: DictConfig) -> None:
    """Raises `InputError` for crops that the method's loss does not take."""
    rows = cfg.optimizer.batch_size * len(cfg.devices) * cfg.num_nodes
    if rows < 2:
        raise InputError("optimizer.batch_size=1: one image has no negatives. Give at least 2.")
    if cfg.method in METHODS:
        return
    method, base = adapter().method(cfg.method), adapter().BaseMethod
    takes_small = method is not None and method.multicrop_forward is not base.multicrop_forward
    large, small = cfg.data.num_large_crops, cfg.data.num_small_crops
    if (large != 2 and cfg.method not in _ANY_VIEWS) or (small and not takes_small):
        raise InputError(
            f"method={cfg.method} compares 2 large crops{' and small ones' if takes_small else ''},"
            f" but augmentations give {large} of {cfg.augmentations[0].crop_size} px and {small} "
            "of other sizes: change their num_crops and crop_size."
        )


def build(cfg: DictConfig):
    """The method of a prepared recipe; raises `InputError` if it or its images do not fit."""
    with model_errors_as_input_errors(cfg):
        model = adapter().build(cfg)
    require_image_sizes(model.backbone, _image_sizes(cfg), cfg)
    return model


def _image_sizes(cfg: DictConfig) -> dict[str, int]:
    """Setting -> size in px of the backbone's inputs that it determines."""
    sizes = {
        f"augmentations.{index}.crop_size": augmentation.crop_size
        for index, augmentation in enumerate(cfg.augmentations)
    }
    if _is_validated(cfg):
        sizes["data.dataset"] = labelled_size(cfg.data.dataset, cfg.augmentations[0])
    return sizes


def _is_validated(cfg: DictConfig) -> bool:
    return not cfg.data.no_labels and cfg.data.val_path is not None


def _val_loader(cfg: DictConfig):
    """Labelled validation images for the online classifier, or None where there are none."""
    if not _is_validated(cfg):
        return None
    crop = cfg.augmentations[0]
    _, val_loader = labelled_loaders(
        cfg, probe_transform(cfg.data.dataset, crop), evaluation_transform(cfg.data.dataset, crop)
    )
    return val_loader
