"""Trains a model with Lightning, in a run's folder that can be resumed."""

import inspect
import logging
import shutil
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader

from solo_bayesncl import runs
from solo_bayesncl.adapters import adapter
from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes.checks import data_errors_as_input_errors, too_few_images
from solo_bayesncl.recipes.machine import number_of_processes
from solo_bayesncl.training import distributed
from solo_bayesncl.training.loggers import make_loggers
from solo_bayesncl.training.progress_bar import LossProgressBar
from solo_bayesncl.training.run_folder import RunFolder, resolve_run_folder
from solo_bayesncl.training.seeding import SeededLoader, SeededSteps

_logger = logging.getLogger(__name__)


def fit(
    model: Any,
    cfg: DictConfig,
    kind: str,
    train_loader: DataLoader | None,
    val_loader: DataLoader | None,
    datamodule: Any = None,
) -> Path:
    """Trains and returns the run's folder, `<checkpoint.dir>/<kind>/<version>/`.

    Args:
        model: a Lightning module.
        cfg: settings with solo-learn's defaults, fitted to the machine.
        kind: the method's name, or "linear".
        train_loader: None with a datamodule.
        val_loader: None without validation.
        datamodule: DALI's.

    Raises:
        InputError: for data, checkpoints or settings that cannot be used.
    """
    distributed.require_launched_as_configured(cfg)
    if train_loader is not None:
        _require_full_batch(train_loader, cfg)
    trainer = adapter().pl.Trainer(**_trainer_options(cfg, train_loader))
    with distributed.broadcast_from_rank_zero(
        trainer, lambda: resolve_run_folder(model, cfg, kind).as_json()
    ) as decision:
        folder = RunFolder.from_json(decision)
        if folder.continues and runs.checkpoint_epoch(folder.resume_point) + 1 >= cfg.max_epochs:
            _logger.info("That run is finished: nothing to do.")
            return folder.path
        resume_step = None
        if folder.continues:
            resume_step = runs.load_checkpoint(folder.resume_point)["global_step"]
        trainer.loggers = make_loggers(cfg, folder, resume_step)
        if cfg.checkpoint.enabled:
            trainer.callbacks.append(_checkpointer(cfg, folder))
        try:
            with data_errors_as_input_errors(cfg):
                _run(trainer, model, cfg, train_loader, val_loader, datamodule, folder.resume_point)
        except InputError:
            started = trainer.current_epoch > 0 or list(folder.path.glob("*.ckpt"))
            if trainer.is_global_zero and not started:
                shutil.rmtree(folder.path, ignore_errors=True)  # no epoch, so nothing to lose
            raise
    if trainer.interrupted:
        raise KeyboardInterrupt
    return folder.path


def _run(
    trainer: Any,
    model: Any,
    cfg: DictConfig,
    train_loader: DataLoader | None,
    val_loader: DataLoader | None,
    datamodule: Any,
    resume_point: Path | None,
) -> None:
    if val_loader is not None:
        val_loader = distributed.share_of(val_loader, trainer)
    if datamodule is not None:
        datamodule.val_dataloader = lambda: [] if val_loader is None else val_loader
        trainer.fit(model, datamodule=datamodule, ckpt_path=resume_point)
    else:
        train_loader = SeededLoader.like(train_loader, cfg.seed, trainer)
        trainer.fit(model, train_loader, val_loader, ckpt_path=resume_point)


def _checkpointer(cfg: DictConfig, folder: RunFolder) -> Any:
    checkpointer = adapter().Checkpointer(
        cfg,
        logdir=folder.parent,
        frequency=cfg.checkpoint.frequency,
        keep_prev=cfg.checkpoint.keep_prev,
    )
    # the next checkpoint replaces the one that is continued, unless that was given by name
    replaces = folder.continues and cfg.resume_from_checkpoint is None
    checkpointer.continued = folder.resume_point if replaces else None
    return checkpointer


def _require_full_batch(loader: DataLoader, cfg: DictConfig) -> None:
    """Raises `InputError` for data that do not fill one batch of all processes."""
    if _steps_per_epoch(loader, cfg) == 0:
        raise InputError(too_few_images(cfg, number_of_processes(cfg)))


def _steps_per_epoch(loader: DataLoader, cfg: DictConfig) -> int:
    return len(loader.dataset) // (loader.batch_size * number_of_processes(cfg))


def _trainer_options(cfg: DictConfig, train_loader: DataLoader | None) -> dict[str, Any]:
    pl = adapter().pl
    callbacks = [pl.callbacks.LearningRateMonitor(logging_interval="epoch"), SeededSteps(cfg.seed)]
    if cfg.get("enable_progress_bar", True):
        callbacks.append(LossProgressBar())
    accepted = inspect.signature(pl.Trainer.__init__).parameters
    given = OmegaConf.to_container(cfg)
    options = {name: given[name] for name in given if name in accepted}
    options.pop("resume_from_checkpoint", None)
    options.update(
        logger=False,  # set when the run's folder is known
        callbacks=callbacks,
        enable_checkpointing=False,
        devices=len(cfg.devices) if cfg.accelerator == "cpu" else list(cfg.devices),
        precision=adapter().precision(cfg.precision),
        strategy=adapter().strategy(cfg.strategy),
        enable_model_summary=given.get("enable_model_summary", False),
    )
    if "log_every_n_steps" not in given and train_loader is not None:
        options["log_every_n_steps"] = max(1, min(50, _steps_per_epoch(train_loader, cfg)))
    # the loaders are already split among processes; the key has another name in Lightning 1
    for name in {"use_distributed_sampler", "replace_sampler_ddp"} & accepted.keys():
        options[name] = False
    if cfg.accelerator == "cpu" and options.pop("sync_batchnorm", False):
        options["plugins"] = [distributed.SyncBatchNorm()]
    return options
