"""Linear evaluation, as solo-learn's `main_linear.py` does it, on any device."""

from pathlib import Path

import torch
from omegaconf import DictConfig
from timm.data import Mixup, create_transform
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import nn

from solo_bayesncl import methods, runs
from solo_bayesncl.adapters import adapter
from solo_bayesncl.adapters.datasets import statistics
from solo_bayesncl.data.loaders import labelled_loaders
from solo_bayesncl.data.transforms import evaluation_transform, labelled_size, probe_transform
from solo_bayesncl.errors import InputError, prefix_errors
from solo_bayesncl.recipes.checks import check_linear, data_errors_as_input_errors
from solo_bayesncl.recipes.image_sizes import require_image_sizes
from solo_bayesncl.recipes.machine import fit_to_machine
from solo_bayesncl.recipes.paths import record_absolute
from solo_bayesncl.training.environment import (
    check_release,
    model_errors_as_input_errors,
    prepare_solo_learn,
)
from solo_bayesncl.training.trainer import fit


def train_linear(cfg: DictConfig) -> Path:
    """Trains a linear classifier on a frozen backbone as solo-learn's `main_linear.py` does.

    The checkpoint must hold every weight of the backbone, whose stem (3x3 for CIFAR) is inferred
    from them; solo-learn loads what happens to fit.

    Args:
        cfg: a recipe; changed in place.

    Returns:
        The run's folder.

    Raises:
        InputError: for a recipe or checkpoint that cannot be used here.
    """
    check_linear(cfg)
    fit_to_machine(cfg)
    checkpoint = runs.checkpoint_at(
        cfg.pretrained_feature_extractor, "pretrained_feature_extractor"
    )
    # of a folder, the newest one: a probe of an earlier one is another run
    cfg.pretrained_feature_extractor = str(checkpoint)
    record_absolute(cfg)
    weights = _backbone_weights(checkpoint)
    prepare_solo_learn()
    methods.register()  # the backbones, too
    check_release(cfg)
    cfg = adapter().linear_cfg(cfg)
    adapter().pl.seed_everything(cfg.seed, workers=True)

    with model_errors_as_input_errors(cfg):
        backbone = adapter().backbone(
            cfg.backbone.name,
            cfg.get("pretrain_method"),
            dict(cfg.backbone.get("kwargs") or {}),
            cifar_stem=weights.get("conv1.weight", torch.empty(0)).shape[-1:] == (3,),
        )
    runs.fill_module(backbone, weights, checkpoint)
    crop = cfg.data.augmentations
    require_image_sizes(
        backbone, {"data.augmentations.crop_size": labelled_size(cfg.data.dataset, crop)}, cfg
    )
    mixup_func, loss_func = _mixup(cfg)
    model = adapter().linear_model(backbone, cfg, loss_func=loss_func, mixup_func=mixup_func)

    with data_errors_as_input_errors(cfg):
        train_loader, val_loader = labelled_loaders(
            cfg, _train_transform(cfg), evaluation_transform(cfg.data.dataset, crop)
        )
        train_batches = None
        if cfg.data.format == "dali":
            from solo_bayesncl.training.dali import linear_loader  # an optional dependency

            train_batches = linear_loader(cfg, train_loader)
    return fit(model, cfg, "linear", train_loader, val_loader, train_batches)


def _backbone_weights(path: Path) -> dict[str, torch.Tensor]:
    prefix = "backbone."
    weights = {
        name.removeprefix(prefix): weight
        for name, weight in runs.load_weights(path).items()
        if name.startswith(prefix)
    }
    if not weights:
        raise InputError(f"pretrained_feature_extractor={path} holds no backbone weights.")
    with prefix_errors("pretrained_feature_extractor"):
        runs.require_finite(weights, path)
    return weights


def _train_transform(cfg: DictConfig):
    crop = cfg.data.augmentations
    if not cfg.get("auto_augment"):
        return probe_transform(cfg.data.dataset, crop)
    if cfg.data.format == "dali":
        raise InputError("auto_augment=True is not available with data.format=dali: set one off.")
    mean, std = statistics(cfg.data.dataset, crop)
    return create_transform(
        input_size=crop.crop_size,
        is_training=True,
        color_jitter=None,
        auto_augment="rand-m9-mstd0.5-inc1",
        interpolation="bicubic",
        re_prob=0.25,
        re_mode="pixel",
        re_count=1,
        mean=mean,
        std=std,
    )


def _mixup(cfg: DictConfig) -> tuple[Mixup | None, nn.Module | None]:
    """(mixup function, loss) of the recipe, as in solo-learn."""
    smoothing = cfg.get("label_smoothing") or 0.0
    mixup, cutmix = cfg.get("mixup") or 0.0, cfg.get("cutmix") or 0.0
    if mixup > 0 or cutmix > 0:
        classes = cfg.data.num_classes
        mix = Mixup(mixup, cutmix, label_smoothing=smoothing, num_classes=classes)
        return mix, SoftTargetCrossEntropy()
    return None, LabelSmoothingCrossEntropy(smoothing) if smoothing > 0 else None
