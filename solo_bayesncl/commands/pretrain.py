"""Pretrains a method from a YAML recipe: --config-path DIR --config-name NAME [key=value ...]."""

from pathlib import Path

import torch
from omegaconf import DictConfig

import solo_bayesncl
from solo_bayesncl import config
from solo_bayesncl.commands import training
from solo_bayesncl.commands.recipes import run_with_hydra
from solo_bayesncl.console import say
from solo_bayesncl.errors import require_one_of
from solo_bayesncl.hosts import host
from solo_bayesncl.transforms import evaluation_transform, probe_transform


def run(arguments: list[str]) -> int:
    """The command; `arguments` are Hydra's."""
    run_with_hydra(arguments, _pretrain_and_tell)
    return 0


def _pretrain_and_tell(cfg: DictConfig) -> None:
    folder = pretrain(cfg)
    say(f"the run is in {folder}; evaluate it with: solo-bayesncl evaluate {folder}")


def pretrain(cfg: DictConfig) -> Path:
    """Pretrains as solo-learn's `main_pretrain.py` does, on any device.

    Args:
        cfg: a recipe; changed in place.

    Returns:
        The run's folder.

    Raises:
        InputError: for a recipe that cannot be run here.
    """
    cfg = prepare(cfg)
    host().pl.seed_everything(cfg.seed, workers=True)
    model = build(cfg)
    if not cfg.get("performance", {}).get("disable_channel_last", False):
        model = model.to(memory_format=torch.channels_last)
    with config.explained_data_errors(cfg):
        val_loader = _val_loader(cfg)
        if cfg.data.format == "dali":
            return training.fit(model, cfg, cfg.method, None, val_loader, host().dali_pretrain(cfg))
        train_loader = host().pretrain_loader(cfg)
    training.require_full_batch(train_loader, cfg)
    return training.fit(model, cfg, cfg.method, train_loader, val_loader)


def prepare(cfg: DictConfig) -> DictConfig:
    """A recipe, checked and fitted to machine and host: the settings that a run records.

    Raises:
        InputError: for a recipe that cannot be run here.
    """
    config.check_pretrain(cfg)
    config.fit_to_machine(cfg)
    training.silence_noise()
    solo_bayesncl.register()
    require_one_of(cfg.method, host().method_names(), "method", host().MORE)
    training.check_against_host(cfg)
    with training.explained_model_errors(cfg):
        return host().pretrain_cfg(cfg)


def build(cfg: DictConfig):
    """The method of a prepared recipe; raises `InputError` if it lacks settings."""
    with training.explained_model_errors(cfg):
        return host().build(cfg)


def _val_loader(cfg: DictConfig):
    """Labelled validation images for the online classifier, or None where there are none."""
    if cfg.data.no_labels or cfg.data.val_path is None:
        return None
    crop = cfg.augmentations[0]
    _, val_loader = host().labelled_loaders(
        cfg, probe_transform(cfg.data.dataset, crop), evaluation_transform(cfg.data.dataset, crop)
    )
    return val_loader
