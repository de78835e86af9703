"""main's settings for solo-learn 1.0.2: those that it lacks, defaults, learning rates."""

from omegaconf import DictConfig, OmegaConf

from solo_bayesncl.adapters.shared import count_classes, set_defaults
from solo_bayesncl.errors import InputError

# main's keys that the release lacks -> the value without effect
_LACKING = {
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

_LARS_LACKING = ("dampening", "nesterov", "eps")

OPTIMIZATION_DEFAULTS = {
    "accumulate_grad_batches": 1,
    "optimizer.kwargs": {},
    "scheduler.lr_decay_steps": None,
    "scheduler.min_lr": 0.0,
    "scheduler.warmup_start_lr": 3e-5,
    "scheduler.warmup_epochs": 10,
}

_DEFAULTS = {
    **OPTIMIZATION_DEFAULTS,
    "checkpoint.enabled": False,
    "checkpoint.dir": "trained_models",
    "checkpoint.frequency": 1,
    "checkpoint.keep_prev": False,
    "auto_resume.enabled": False,
    "auto_resume.max_hours": 36,
    "resume_from_checkpoint": None,
    "dali.device": "gpu",
    "dali.encode_indexes_into_labels": False,
    "data.format": "image_folder",
    "data.no_labels": False,
    "data.val_path": None,
    "wandb.enabled": False,
    "wandb.entity": None,
    "wandb.project": "solo-learn",
    "wandb.offline": False,
    "seed": 5,
    "num_nodes": 1,
}
_LARS_DEFAULTS = {
    "optimizer.kwargs.eta": 1e-3,
    "optimizer.kwargs.clip_lr": False,
    "optimizer.kwargs.exclude_bias_n_norm": False,
}


def check(cfg: DictConfig) -> None:
    lacking = [
        key
        for key, neutral in _LACKING.items()
        if OmegaConf.select(cfg, key) not in (None, neutral)
    ]
    if OmegaConf.select(cfg, "optimizer.name") == "lars":
        options = cfg.optimizer.get("kwargs") or {}
        lacking += [f"optimizer.kwargs.{key}" for key in _LARS_LACKING if options.get(key)]
    for index, augmentation in enumerate(cfg.get("augmentations", [])):
        if not augmentation.rrc.enabled:
            lacking.append(f"augmentations.{index}.rrc.enabled")
        if augmentation.get("equalization", {}).get("prob"):
            lacking.append(f"augmentations.{index}.equalization.prob")
    if lacking:
        raise InputError(
            "solo-learn 1.0.2 lacks what these settings ask for: "
            + ", ".join(f"{key}={OmegaConf.select(cfg, key)}" for key in lacking)
            + ". Remove them, or install solo-learn main (GitHub), which has them."
        )


def pretrain_cfg(cfg: DictConfig) -> DictConfig:
    cfg = _complete(cfg)
    large = cfg.augmentations[0].crop_size
    cfg.data.num_large_crops = sum(a.num_crops for a in cfg.augmentations if a.crop_size == large)
    cfg.data.num_small_crops = sum(a.num_crops for a in cfg.augmentations if a.crop_size != large)
    if cfg.data.val_path is not None:
        cfg.optimizer.classifier_lr *= _lr_scale(cfg)
    return cfg


def linear_cfg(cfg: DictConfig) -> DictConfig:
    return set_defaults(_complete(cfg), {"data.augmentations.crop_size": 224})


def _complete(cfg: DictConfig) -> DictConfig:
    set_defaults(cfg, _DEFAULTS)
    count_classes(cfg)
    if cfg.optimizer.name in ("sgd", "lars"):
        set_defaults(cfg, {"optimizer.kwargs.momentum": 0.9})
    if cfg.optimizer.name == "lars":
        set_defaults(cfg, _LARS_DEFAULTS)
    cfg.optimizer.lr *= _lr_scale(cfg)
    return cfg


def _lr_scale(cfg: DictConfig) -> float:
    return cfg.optimizer.batch_size * len(cfg.devices) * cfg.num_nodes / 256
