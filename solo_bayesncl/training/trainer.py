"""Trains a model with Lightning, in a run's folder that can be resumed."""

import inspect
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader

from solo_bayesncl import runs
from solo_bayesncl.adapters import adapter
from solo_bayesncl.data.images import pixel_limit
from solo_bayesncl.data.unreadable import ReadableLoader, Reading, UnreadableImages
from solo_bayesncl.errors import InputError
from solo_bayesncl.files import WriteError
from solo_bayesncl.recipes.checks import data_errors_as_input_errors, too_few_images
from solo_bayesncl.recipes.machine import number_of_processes
from solo_bayesncl.training import distributed
from solo_bayesncl.training.checkpoint_io import CheckpointIO
from solo_bayesncl.training.collapse import WarnOfCollapse
from solo_bayesncl.training.divergence import DivergedError, StopWhenDiverged
from solo_bayesncl.training.environment import trainer_errors_as_input_errors
from solo_bayesncl.training.interruptions import interruptible
from solo_bayesncl.training.loggers import LossProgressBar, make_loggers, quiet_writers
from solo_bayesncl.training.resumed_settings import SettingsOfRecipe
from solo_bayesncl.training.run_folder import RunFolder, resolve_run_folder
from solo_bayesncl.training.seeding import SeededLoader, SeededSteps
from solo_bayesncl.training.sync_batchnorm import SyncBatchNorm

_logger = logging.getLogger(__name__)


def fit(
    model: Any,
    cfg: DictConfig,
    kind: str,
    train_loader: DataLoader,
    val_loader: DataLoader | None,
    train_batches: Callable[[Any, UnreadableImages], Any] | None = None,
    callbacks: Sequence[Any] = (),
) -> Path:
    """Trains and returns the run's folder, `<checkpoint.dir>/<kind>/<version>/`.

    Args:
        model: a Lightning module.
        cfg: settings with solo-learn's defaults, fitted to the machine.
        kind: the method's name, or "linear".
        train_loader: torchvision's.
        val_loader: None without validation.
        train_batches: makes another loader of the same images, DALI's or of augmented batches, of
            the Lightning trainer and what takes the images that cannot be read.
        callbacks: further ones of Lightning's.

    Raises:
        InputError: for data, checkpoints or settings that cannot be used, files that cannot be
            written, and a run that another process trains.
        KeyboardInterrupt, Terminated: on SIGINT and SIGTERM. The last epoch that was saved stays.
    """
    distributed.require_launched_as_configured(cfg)
    if not cfg.get("performance", {}).get("disable_channel_last", False):
        model.to(memory_format=torch.channels_last)
    checkpoint_io = CheckpointIO()
    options = _trainer_options(cfg, checkpoint_io)
    processes = number_of_processes(cfg)
    steps = len(train_loader.dataset) // (train_loader.batch_size * processes)
    if steps == 0:
        raise InputError(too_few_images(cfg, processes))
    options.setdefault("log_every_n_steps", min(50, steps))
    with trainer_errors_as_input_errors():
        trainer = adapter().pl.Trainer(**options)
    trainer.callbacks.extend(callbacks)
    with (
        ExitStack() as held,
        distributed.broadcast_from_rank_zero(
            trainer, lambda: resolve_run_folder(model, cfg, kind, checkpoint_io, held).as_json()
        ) as decision,
    ):
        folder = RunFolder.from_json(decision)
        if folder.is_finished(cfg.max_epochs):
            _logger.info("That run is finished: nothing to do.")
            return folder.path
        trainer.loggers = make_loggers(cfg, folder)
        if cfg.checkpoint.enabled:
            trainer.callbacks.append(_checkpointer(cfg, folder))
        reading = Reading.of(cfg.data)
        unreadable = UnreadableImages(reading, folder.path / runs.SKIPPED_IMAGES)
        try:
            with (
                trainer_errors_as_input_errors(fitting=True),
                data_errors_as_input_errors(cfg),
                interruptible(trainer),
                pixel_limit(reading.max_pixels),
                quiet_writers(),
            ):
                if train_batches is None:
                    train_loader = SeededLoader.like(train_loader, cfg.seed, trainer, unreadable)
                else:
                    train_loader = train_batches(trainer, unreadable)
                if val_loader is not None:
                    val_loader = distributed.share_of(val_loader, trainer)
                    # processes must have the same number of batches
                    val_loader = ReadableLoader.like(
                        val_loader, unreadable, no_empty_batch=trainer.world_size > 1
                    )
                trainer.fit(model, train_loader, val_loader, ckpt_path=folder.resume_point)
        except DivergedError:
            raise  # the folder has its curves
        except InputError as error:
            saved = runs.checkpoints_in(folder.path)
            if trainer.is_global_zero and not saved and trainer.current_epoch == 0:
                folder.remove_if_new()  # nothing to lose
            if saved and isinstance(error, WriteError):
                raise WriteError(
                    f"{error} The checkpoint {saved[0]} stays: the same command continues from it."
                ) from error
            raise
    unreadable.report()
    if cfg.checkpoint.enabled and trainer.is_global_zero and not runs.checkpoints_in(folder.path):
        _logger.warning(
            "training ended before its first epoch did, so there is no checkpoint: is max_steps or "
            "max_time too small?"
        )
    return folder.path


def _checkpointer(cfg: DictConfig, folder: RunFolder) -> Any:
    checkpointer = adapter().Checkpointer(
        cfg,
        logdir=folder.path.parent,
        frequency=cfg.checkpoint.frequency,
        keep_prev=cfg.checkpoint.keep_prev,
    )
    # the next checkpoint replaces the resumed one, unless a setting names that
    if folder.continues and cfg.resume_from_checkpoint is None:
        checkpointer.continued = folder.resume_point
    return checkpointer


def _trainer_options(cfg: DictConfig, checkpoint_io: CheckpointIO) -> dict[str, Any]:
    pl = adapter().pl
    callbacks = [
        pl.callbacks.LearningRateMonitor(logging_interval="epoch"),
        SeededSteps(cfg.seed),
        SettingsOfRecipe(),
        StopWhenDiverged(cfg),
        WarnOfCollapse(cfg),
    ]
    if cfg.get("enable_progress_bar", True):
        callbacks.append(LossProgressBar())
    accepted = inspect.signature(pl.Trainer.__init__).parameters
    settings = OmegaConf.to_container(cfg)
    options = {name: value for name, value in settings.items() if name in accepted}
    options.pop("resume_from_checkpoint", None)
    options.update(
        logger=False,  # `fit` adds loggers when it has the run's folder
        callbacks=callbacks,
        enable_checkpointing=False,
        devices=len(cfg.devices) if cfg.accelerator == "cpu" else list(cfg.devices),
        precision=adapter().precision(cfg.precision),
        plugins=[checkpoint_io],
        enable_model_summary=settings.get("enable_model_summary", False),
    )
    # the loaders are already split among processes; the key has another name in Lightning 1
    for name in {"use_distributed_sampler", "replace_sampler_ddp"} & accepted.keys():
        options[name] = False
    if cfg.strategy == "auto":
        del options["strategy"]  # Lightning 1 has another name for its default
    elif cfg.strategy == "ddp":
        options["strategy"] = pl.strategies.DDPStrategy(find_unused_parameters=False)
    if cfg.accelerator == "cpu" and options.pop("sync_batchnorm", False):
        options["plugins"].append(SyncBatchNorm())
    return options
