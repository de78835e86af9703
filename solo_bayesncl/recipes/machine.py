"""Fits a recipe to the machine: accelerator, devices, processes and precision."""

import logging

import torch
from omegaconf import DictConfig, OmegaConf

from solo_bayesncl.errors import InputError
from solo_bayesncl.precision import lightning_2_name

_logger = logging.getLogger(__name__)


def fit_to_machine(cfg: DictConfig) -> None:
    """Resolves accelerator, devices, precision and batch-norm synchronisation in place.

    So are interpolations, environment variables among them: the record of a run has their values.
    solo-learn's YAML is written for GPUs. `accelerator: auto` becomes `gpu` or `cpu`; `devices`, in
    any of Lightning's forms, becomes a list with one entry per process: solo-learn scales the
    learning rate by its length. On the CPU each entry is one process.

    Args:
        cfg: a recipe that `check_pretrain` or `check_linear` accepts.

    Raises:
        InputError: for devices that the machine does not have.
    """
    OmegaConf.resolve(cfg)
    cuda = torch.cuda.is_available()
    accelerator = cfg.get("accelerator") or "auto"
    if accelerator in ("gpu", "cuda") and not cuda:
        raise InputError(
            f"accelerator={accelerator}, but no CUDA device is found: set accelerator=auto."
        )
    cfg.accelerator = "cpu" if accelerator == "cpu" or not cuda else "gpu"
    cfg.devices = device_list(cfg.get("devices", 1), cfg.accelerator)
    if number_of_processes(cfg) == 1:
        cfg.strategy = "auto"
    elif cfg.get("strategy") in (None, "auto"):
        cfg.strategy = "ddp"
    cfg.precision = lightning_2_name(cfg.get("precision", "32-true"))
    if cfg.accelerator == "cpu":
        if cfg.precision == "16-mixed":
            _logger.info("precision=16-mixed runs as bf16-mixed on the CPU.", extra={"once": True})
            cfg.precision = "bf16-mixed"
        if cfg.get("sync_batchnorm") and cfg.strategy == "auto":
            cfg.sync_batchnorm = False  # there is one process


def number_of_processes(cfg: DictConfig) -> int:
    """Processes of a run on all nodes; `devices` is a list (`fit_to_machine`), or one if absent."""
    return len(cfg.get("devices", [0])) * (cfg.get("num_nodes") or 1)


def check_dali(cfg: DictConfig) -> None:
    """Raises `InputError` where DALI lacks its device or a thread."""
    if cfg.data.get("format") != "dali":
        return
    device = OmegaConf.select(cfg, "dali.device") or "gpu"
    if device == "gpu" and not torch.cuda.is_available():
        raise InputError("dali.device=gpu, but no CUDA device is found: set dali.device=cpu.")
    if cfg.data.num_workers < 1:
        raise InputError("data.num_workers=0: DALI needs at least 1 thread.")


def device_list(devices: object, accelerator: str) -> list[int]:
    """`devices` in any of Lightning's forms as a list with an entry per process of a node.

    Raises:
        InputError: for devices that there are not; of accelerator `cpu` there is any number.
    """
    available = torch.cuda.device_count() if accelerator == "gpu" else 1
    given = devices
    if isinstance(devices, str) and "," in devices:
        devices = [part.strip() for part in devices.split(",")]
    if isinstance(devices, str) and devices.lstrip("-").isdecimal():
        devices = int(devices)
    if devices in ("auto", -1):
        return list(range(available))
    if isinstance(devices, int):
        devices = [] if isinstance(devices, bool) else list(range(devices))
    is_list = isinstance(devices, list) or OmegaConf.is_list(devices)
    if not is_list or not devices or not all(str(device).isdecimal() for device in devices):
        raise InputError(
            f"devices={given!r}: give a number of processes (at least 1), a list of GPUs such as "
            "[0,1], or auto."
        )
    devices = [int(device) for device in devices]
    if len(set(devices)) < len(devices):
        raise InputError(f"devices={given!r}: one is named twice.")
    if accelerator == "gpu" and max(devices) >= available:
        raise InputError(f"devices={devices}: {available} CUDA device(s) are found, from 0.")
    return devices
