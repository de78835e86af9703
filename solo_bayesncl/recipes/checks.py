"""Checks a recipe before anything slow starts, and fits it to the machine.

Everything here raises `InputError` with the key to change. The keys of the methods themselves are
in `solo_bayesncl.recipes.method_kwargs`.
"""

from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

import torch
from omegaconf import DictConfig, OmegaConf

from solo_bayesncl.adapters.datasets import DATASETS, DOWNLOADED
from solo_bayesncl.console import say
from solo_bayesncl.errors import InputError, require_one_of
from solo_bayesncl.precision import lightning_2_name
from solo_bayesncl.recipes import method_kwargs as settings
from solo_bayesncl.recipes.method_kwargs import is_number

FORMATS = ("image_folder", "dali", "h5")
OPTIMIZERS = ("sgd", "lars", "adam", "adamw")
PRECISIONS = ("16-mixed", "bf16-mixed", "32-true", "64-true", 16, 32, 64, "16", "32", "64", "bf16")

SHARED_KEYS = (
    "name",
    "backbone.name",
    "data.dataset",
    "data.train_path",
    "data.num_workers",
    "optimizer.name",
    "optimizer.batch_size",
    "optimizer.lr",
    "optimizer.weight_decay",
    "scheduler.name",
    "max_epochs",
)
COUNTS = (
    "optimizer.batch_size",
    "max_epochs",
    "num_nodes",
    "accumulate_grad_batches",
    "checkpoint.frequency",
    "check_val_every_n_epoch",
    "knn_eval.k",
)
AMOUNTS = (
    "optimizer.lr",
    "optimizer.classifier_lr",
    "optimizer.weight_decay",
    "scheduler.warmup_epochs",
    "scheduler.warmup_start_lr",
    "scheduler.min_lr",
)
SECTIONS = (
    "backbone",
    "data",
    "optimizer",
    "scheduler",
    "checkpoint",
    "method_kwargs",
    "wandb",
    "momentum",
)
MAX_SEED = 2**32 - 1  # Lightning draws another seed in place of a larger one
LARS_KEYS = ("clip_lr", "eta", "exclude_bias_n_norm")


def check_pretrain(cfg: DictConfig, data: bool = True) -> None:
    """Checks a pretraining recipe, and whether its `data` are there. Does not import solo-learn."""
    _require(cfg, (*SHARED_KEYS, "method", "optimizer.classifier_lr", "augmentations"))
    _check_shared(cfg, schedulers=("warmup_cosine", "step", "none"), data=data)
    for index, augmentation in enumerate(cfg.augmentations):
        for key in ("crop_size", "num_crops"):
            value = augmentation.get(key)
            if not (is_number(value, int) and value >= 1):
                raise InputError(
                    f"augmentations.{index}.{key}={value!r}: give an integer of at least 1."
                )
        for key in ("mean", "std"):
            value = augmentation.get(key)
            if value is not None and not (OmegaConf.is_list(value) and len(value) == 3):
                raise InputError(f"augmentations.{index}.{key}={value!r}: give three numbers.")
    _check_order(cfg)
    if sum(augmentation.num_crops for augmentation in cfg.augmentations) < 2:
        raise InputError("augmentations: num_crops add up to 1; a positive pair needs 2 crops.")
    _check_momentum(cfg)
    if cfg.method in settings.METHODS:
        cfg.method_kwargs = cfg.get("method_kwargs") or {}
        settings.fill(cfg)


def _check_order(cfg: DictConfig) -> None:
    """solo-learn takes the first crops of an image as its large ones."""
    sizes = [augmentation.crop_size for augmentation in cfg.augmentations]
    large = sizes.count(sizes[0])
    if sizes[:large] != [sizes[0]] * large:
        raise InputError(
            f"augmentations.INDEX.crop_size={sizes}: the crops of one size must follow each other, "
            "the large ones first. Order the entries of augmentations so."
        )


def _check_momentum(cfg: DictConfig) -> None:
    """Checks what a momentum network is updated by; absent values have defaults."""
    momentum = cfg.get("momentum") or {}
    taus = {key: momentum.get(key) for key in ("base_tau", "final_tau")}
    for key, tau in taus.items():
        if tau is not None and not (is_number(tau) and 0 <= tau <= 1):
            raise InputError(f"momentum.{key}={tau!r}: give a number from 0 to 1.")
    if None not in taus.values() and taus["base_tau"] > taus["final_tau"]:
        raise InputError(
            f"momentum.base_tau={taus['base_tau']} exceeds momentum.final_tau={taus['final_tau']}, "
            "where it goes: give a smaller one."
        )


def check_linear(cfg: DictConfig) -> None:
    """Checks a linear-evaluation recipe. Does not import solo-learn."""
    _require(cfg, (*SHARED_KEYS, "data.val_path", "pretrained_feature_extractor"))
    _check_shared(cfg, schedulers=("warmup_cosine", "step", "exponential", "none"))


def _require(cfg: DictConfig, keys: tuple[str, ...]) -> None:
    missing = [
        key
        for key in keys
        if OmegaConf.select(cfg, key, throw_on_missing=False) in (None, "None")
        or OmegaConf.is_missing(*_parent(cfg, key))
    ]
    if missing:
        raise InputError(
            f"The recipe gives no {', '.join(missing)}. Add it to the YAML file or type "
            f"{missing[0]}=VALUE."
        )


def _parent(cfg: DictConfig, key: str) -> tuple[DictConfig, str]:
    *path, last = key.split(".")
    return (OmegaConf.select(cfg, ".".join(path)) if path else cfg), last


def _check_shared(cfg: DictConfig, schedulers: tuple[str, ...], data: bool = True) -> None:
    for key in SECTIONS:
        if key in cfg and not OmegaConf.is_dict(cfg[key]):
            raise InputError(f"{key}={cfg[key]!r}: a section with keys of its own is needed.")
    require_one_of(cfg.data.dataset, DATASETS, "data.dataset")
    require_one_of(cfg.data.get("format", "image_folder"), FORMATS, "data.format")
    require_one_of(cfg.optimizer.name, OPTIMIZERS, "optimizer.name")
    require_one_of(cfg.scheduler.name, schedulers, "scheduler.name")
    require_one_of(cfg.get("precision", 32), PRECISIONS, "precision")
    for key in COUNTS:
        value = OmegaConf.select(cfg, key)
        if value is not None and not (is_number(value, int) and value >= 1):
            raise InputError(f"{key}={value!r}: give an integer of at least 1.")
    for key in AMOUNTS:
        value = OmegaConf.select(cfg, key)
        if value is not None and not (is_number(value, (int, float)) and value >= 0):
            raise InputError(f"{key}={value!r}: give a number of at least 0.")
    for key, most in (("data.num_workers", None), ("seed", MAX_SEED)):
        value = OmegaConf.select(cfg, key)
        if value is None or (is_number(value, int) and 0 <= value <= (most or value)):
            continue
        accepted = f"from 0 to {most}" if most else "of at least 0"
        raise InputError(f"{key}={value!r}: give an integer {accepted}.")
    fraction = cfg.data.get("fraction")
    if fraction is not None and not (is_number(fraction) and fraction < 1):
        raise InputError(
            f"data.fraction={fraction!r}: give the share of the training images to use, between 0 "
            "and 1, or null for all of them."
        )
    steps = cfg.scheduler.get("lr_decay_steps")
    if cfg.scheduler.name == "step" and not (OmegaConf.is_list(steps) and len(steps)):
        raise InputError("scheduler.name=step needs scheduler.lr_decay_steps, e.g. [60,80].")
    foreign = [key for key in LARS_KEYS if key in (cfg.optimizer.get("kwargs") or {})]
    if cfg.optimizer.name != "lars" and foreign:
        raise InputError(
            f"optimizer.kwargs: {', '.join(foreign)} belong to optimizer.name=lars. With "
            f"optimizer.name={cfg.optimizer.name} leave them out: type ~optimizer.kwargs."
        )
    if data:
        if cfg.data.get("format") == "dali":
            _check_dali(cfg)
        _check_paths(cfg)


def _check_dali(cfg: DictConfig) -> None:
    if cfg.data.dataset in DOWNLOADED:
        raise InputError(
            f"data.format=dali reads image folders, not data.dataset={cfg.data.dataset}. Set "
            "data.format=image_folder, or data.dataset=custom with the images as files."
        )
    device = OmegaConf.select(cfg, "dali.device") or "gpu"
    require_one_of(device, ("gpu", "cpu"), "dali.device")
    if device == "gpu" and not torch.cuda.is_available():
        raise InputError("dali.device=gpu, but no CUDA device is found: set dali.device=cpu.")
    if cfg.data.num_workers < 1:
        raise InputError("data.num_workers=0: DALI needs at least 1 thread.")


def _check_paths(cfg: DictConfig) -> None:
    if cfg.data.dataset in DOWNLOADED:
        return
    labelled = not cfg.data.get("no_labels", False)
    _check_images(cfg, "data.train_path", labelled)
    if cfg.data.get("val_path") is not None and labelled:
        _check_images(cfg, "data.val_path", labelled)


def _check_images(cfg: DictConfig, key: str, labelled: bool) -> None:
    given = OmegaConf.select(cfg, key)
    if not isinstance(given, str):
        raise InputError(f"{key}={given!r}: give a path.")
    path = Path(given)
    if cfg.data.get("format") == "h5":
        if not path.is_file():
            raise InputError(f"{key}={path} is not a file; data.format=h5 needs an HDF5 file.")
        return
    if not path.is_dir():
        raise InputError(f"{key}={path} is not a folder.")
    has_folders = any(entry.is_dir() for entry in path.iterdir())
    if not labelled and has_folders:
        raise InputError(
            f"{key}={path} has folders in it; data.no_labels=True needs the images directly in it. "
            "For a folder of images per class set data.no_labels=False."
        )
    if labelled and not has_folders:
        raise InputError(
            f"{key}={path} has no class folders. It needs a folder of images per class; for images "
            "without labels set data.no_labels=True."
        )


def fit_to_machine(cfg: DictConfig) -> None:
    """Resolves accelerator, devices, precision and batch-norm synchronisation in place.

    solo-learn's YAML is written for GPUs. `accelerator: auto` becomes `gpu` or `cpu`; `devices`, in
    any of Lightning's forms, becomes a list with one entry per process: solo-learn scales the
    learning rate by its length. On the CPU each entry is one process.
    """
    cuda = torch.cuda.is_available()
    asked = cfg.get("accelerator") or "auto"
    require_one_of(asked, ("auto", "gpu", "cuda", "cpu"), "accelerator")
    if asked in ("gpu", "cuda") and not cuda:
        raise InputError(f"accelerator={asked}, but no CUDA device is found: set accelerator=auto.")
    cfg.accelerator = "cpu" if asked == "cpu" or not cuda else "gpu"
    cfg.devices = _device_list(cfg.get("devices", 1), cfg.accelerator)
    if len(cfg.devices) * (cfg.get("num_nodes") or 1) == 1:
        cfg.strategy = "auto"
    elif cfg.get("strategy") in (None, "auto"):
        cfg.strategy = "ddp"
    cfg.precision = lightning_2_name(cfg.get("precision", "32-true"))
    if cfg.accelerator == "cpu":
        if cfg.precision == "16-mixed":
            say("precision=16-mixed runs as bf16-mixed on the CPU.")
            cfg.precision = "bf16-mixed"
        if cfg.get("sync_batchnorm") and cfg.strategy == "auto":
            cfg.sync_batchnorm = False  # there is one process


def _device_list(devices: object, accelerator: str) -> list[int]:
    available = torch.cuda.device_count() if accelerator == "gpu" else 1
    if isinstance(devices, str) and "," in devices:
        devices = OmegaConf.create([part.strip() for part in devices.split(",")])
    if isinstance(devices, str) and devices.lstrip("-").isdigit():
        devices = int(devices)
    if devices in ("auto", -1):
        return list(range(available))
    if is_number(devices, int) and devices >= 1:
        devices = list(range(devices))
    elif OmegaConf.is_list(devices) and len(devices) and all(str(d).isdigit() for d in devices):
        devices = [int(device) for device in devices]
    else:
        raise InputError(
            f"devices={devices!r}: give a number of processes (at least 1), a list of GPUs such as "
            "[0,1], or auto."
        )
    if accelerator == "gpu" and max(devices) >= available:
        raise InputError(f"devices={devices}: {available} CUDA device(s) are found, from 0.")
    return devices


@contextmanager
def explained_data_errors(cfg: DictConfig):
    """Turns what data sets raise for missing or unreadable files into one message."""
    try:
        yield
    except (URLError, RuntimeError, OSError) as error:
        reason = str(error).splitlines()[-1]  # the first lines can be a loader process's traceback
        if isinstance(error, OSError) and not isinstance(error, URLError):
            raise InputError(
                f"A file cannot be read: {reason} (data.train_path={cfg.data.train_path}, "
                f"data.val_path={cfg.data.get('val_path')})"
            ) from error
        if not isinstance(error, URLError) and "Dataset not found" not in str(error):
            raise
        raise InputError(
            f"data.dataset={cfg.data.dataset} is neither in data.train_path={cfg.data.train_path} "
            f"nor can it be downloaded ({error}). Put its files there."
        ) from error


def too_few_images(cfg: DictConfig, processes: int = 1) -> str:
    """The message for data that do not fill one batch: the loaders drop the incomplete one."""
    each = f" in each of {processes} processes" if processes > 1 else ""
    return (
        f"data.train_path={cfg.data.train_path} holds fewer images than "
        f"optimizer.batch_size={cfg.optimizer.batch_size}{each}: no step would be taken. "
        "Give more images or a smaller batch."
    )
