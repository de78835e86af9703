"""Linear evaluation from a YAML recipe: --config-path DIR --config-name NAME [key=value ...]."""

from pathlib import Path

import torch
from omegaconf import DictConfig
from timm.data import Mixup, create_transform
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import nn

from solo_bayesncl import recipes
from solo_bayesncl.adapters import adapter
from solo_bayesncl.console import say
from solo_bayesncl.data.transforms import (
    evaluation_transform,
    labelled_size,
    probe_transform,
    statistics,
)
from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes import require_image_sizes
from solo_bayesncl.recipes.compose import run_with_hydra
from solo_bayesncl.runs import run as runs
from solo_bayesncl.training import trainer as training


def run(arguments: list[str]) -> int:
    """The command; `arguments` are Hydra's."""
    run_with_hydra(arguments, _train_and_tell)
    return 0


def _train_and_tell(cfg: DictConfig) -> None:
    folder = train_linear(cfg)
    say(f"the run is in {folder}; val_acc1 and val_acc5 are in its metrics.csv")


def train_linear(cfg: DictConfig) -> Path:
    """Trains a linear classifier on a frozen backbone as solo-learn's `main_linear.py` does.

    The backbone's weights are all loaded or the checkpoint is refused, and its stem (3x3 for CIFAR)
    is read off the weights; solo-learn loads what happens to fit.

    Args:
        cfg: a recipe; changed in place.

    Returns:
        The run's folder.

    Raises:
        InputError: for a recipe or checkpoint that cannot be used here.
    """
    recipes.check_linear(cfg)
    recipes.fit_to_machine(cfg)
    checkpoint = runs.checkpoint_at(
        cfg.pretrained_feature_extractor, "pretrained_feature_extractor"
    )
    weights = _backbone_weights(checkpoint)
    training.prepare_host()
    training.check_against_host(cfg)
    cfg = adapter().linear_cfg(cfg)
    adapter().pl.seed_everything(cfg.seed, workers=True)

    with training.explained_model_errors(cfg):
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
    if not cfg.get("performance", {}).get("disable_channel_last", False):
        model = model.to(memory_format=torch.channels_last)

    with recipes.data_errors_as_input_errors(cfg):
        train_loader, val_loader = adapter().labelled_loaders(
            cfg,
            _train_transform(cfg),
            evaluation_transform(cfg.data.dataset, cfg.data.augmentations),
        )
        if cfg.data.format == "dali":
            dali = adapter().dali_linear(cfg, train_loader)
            return training.fit(model, cfg, "linear", None, val_loader, dali)
    training.require_full_batch(train_loader, cfg)
    return training.fit(model, cfg, "linear", train_loader, val_loader)


def _backbone_weights(path: Path) -> dict[str, torch.Tensor]:
    weights = runs.load_weights(path)
    prefix = "backbone."
    weights = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    if not weights:
        raise InputError(f"pretrained_feature_extractor={path} holds no weights of a backbone.")
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
    """(mixup function, loss) that the recipe asks for, as in solo-learn."""
    smoothing = cfg.get("label_smoothing") or 0.0
    mixup, cutmix = cfg.get("mixup") or 0.0, cfg.get("cutmix") or 0.0
    if mixup > 0 or cutmix > 0:
        mix = Mixup(
            mixup_alpha=mixup,
            cutmix_alpha=cutmix,
            label_smoothing=smoothing,
            num_classes=cfg.data.num_classes,
        )
        return mix, SoftTargetCrossEntropy()
    return None, LabelSmoothingCrossEntropy(smoothing) if smoothing > 0 else None
