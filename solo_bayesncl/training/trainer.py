"""What `pretrain` and `linear` share: loggers, callbacks, resuming and Lightning's trainer."""

import inspect
import logging
import shutil
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from solo_bayesncl import recipes
from solo_bayesncl.adapters import adapter
from solo_bayesncl.console import say
from solo_bayesncl.errors import InputError, require_one_of
from solo_bayesncl.runs import run as runs

# said by the libraries below at every run, about settings that solo-learn chooses
_NOISE = (
    ".*does not have many workers.*",
    ".*pin_memory.*",
    ".*number of training batches.*",
    ".*currently marked under review.*",
    ".*ReduceOp.*",
    ".*Please call `lr_scheduler.step.*",
    ".*lr_scheduler.step.. before .optimizer.step.*",
    ".*LightningModule..*hook.*",
    ".*GPU available but not used.*",
    ".*epoch parameter in `scheduler.step.*",
    ".*isinstance.treespec.*",
    ".*LeafSpec.*",
    ".*torch.distributed.nn.functional.*",
)


def prepare_host() -> None:
    """Puts the host right, and hides warnings that a user can do nothing about."""
    adapter().patch_solo_learn()  # and imported: Lightning sets its loggers' levels then
    for message in _NOISE:
        warnings.filterwarnings("ignore", message=message)
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


def check_against_host(cfg: DictConfig) -> None:
    """Refuses what the installed release does not have; raises `InputError`."""
    more = adapter().MORE
    require_one_of(cfg.backbone.name, adapter().backbone_names(), "backbone.name", more)
    require_one_of(cfg.data.get("format", "image_folder"), adapter().FORMATS, "data.format", more)
    adapter().check(cfg)


def require_full_batch(loader, cfg: DictConfig) -> None:
    """Refuses data that do not fill one batch of all processes."""
    if _steps_per_epoch(loader, cfg) == 0:
        raise InputError(recipes.too_few_images(cfg, recipes.number_of_processes(cfg)))


def _steps_per_epoch(loader, cfg: DictConfig) -> int:
    return len(loader.dataset) // (loader.batch_size * recipes.number_of_processes(cfg))


@contextmanager
def explained_model_errors(cfg: DictConfig):
    """Turns what backbones and methods raise for wrong keyword arguments into one message."""
    try:
        yield
    except InputError:
        raise
    except (TypeError, ValueError, AssertionError, KeyError, OmegaConfBaseException) as error:
        raise InputError(
            f"The model cannot be built from backbone.kwargs={cfg.backbone.get('kwargs')} and "
            f"method_kwargs={cfg.get('method_kwargs')}: {error}"
        ) from error


def find_resume_point(cfg: DictConfig, kind: str) -> Path | None:
    """The checkpoint to continue from, if any.

    Args:
        cfg: settings after the host added its defaults.
        kind: folder below `checkpoint.dir`: the method's name, or "linear".

    Raises:
        InputError: if `resume_from_checkpoint` cannot be read.
    """
    if cfg.resume_from_checkpoint is not None:
        path = runs.checkpoint_at(cfg.resume_from_checkpoint, "resume_from_checkpoint")
        runs.load_checkpoint(path)
        return path
    found = runs.find_resumable(cfg, kind) if cfg.auto_resume.enabled else None
    if found is None:
        return None
    say(f"resuming {found.checkpoint} (auto_resume.enabled=False starts anew)")
    return found.checkpoint


def fit(model, cfg: DictConfig, kind: str, train_loader, val_loader, datamodule=None) -> Path:
    """Trains with Lightning and returns the run's folder, `<checkpoint.dir>/<kind>/<version>/`.

    Args:
        model: a Lightning module.
        cfg: settings after the host added its defaults, fitted to the machine.
        kind: the method's name, or "linear".
        train_loader, val_loader: data loaders; train_loader is None with a datamodule.
        datamodule: DALI's.
    """
    from solo_bayesncl.training import distributed as processes
    from solo_bayesncl.training.curves import CurvesLogger, leave_out_classes
    from solo_bayesncl.training.progress_bar import LossProgressBar
    from solo_bayesncl.training.seeding import SeededLoader, SeededSteps

    processes.require_as_started(cfg)
    pl = adapter().pl
    callbacks = [pl.callbacks.LearningRateMonitor(logging_interval="epoch"), SeededSteps(cfg.seed)]
    if cfg.get("enable_progress_bar", True):
        callbacks.append(LossProgressBar())
    trainer = pl.Trainer(**_trainer_options(cfg, callbacks, train_loader))
    parent = Path(cfg.checkpoint.dir) / kind
    with processes.broadcast_from_rank_zero(
        trainer, lambda: resolve_run_folder(model, cfg, kind)
    ) as place:
        resume_point = place["resume_point"] and Path(place["resume_point"])
        continues = resume_point is not None and resume_point.parent.parent == parent
        if continues and runs.checkpoint_epoch(resume_point) + 1 >= cfg.max_epochs:
            say("That run is finished: nothing to do.")
            return resume_point.parent
        folder = parent / place["version"]
        if cfg.wandb.enabled:
            other = _wandb_logger(cfg, folder.name, continues)
        else:
            other = pl.loggers.TensorBoardLogger(
                cfg.checkpoint.dir, name=kind, version=folder.name, default_hp_metric=False
            )
        curves = CurvesLogger(folder)
        if continues:
            curves.resume(runs.load_checkpoint(resume_point)["global_step"])
        trainer.loggers = [curves, other]
        if cfg.data.get("no_labels", False):
            for logger in trainer.loggers:
                leave_out_classes(logger)
        if cfg.checkpoint.enabled:
            checkpointer = adapter().Checkpointer(
                cfg,
                logdir=parent,
                frequency=cfg.checkpoint.frequency,
                keep_prev=cfg.checkpoint.keep_prev,
            )
            # a checkpoint that was asked for by name stays
            asked_for = cfg.resume_from_checkpoint is not None
            checkpointer.continued = resume_point if continues and not asked_for else None
            trainer.callbacks.append(checkpointer)
        try:
            with recipes.data_errors_as_input_errors(cfg):
                if val_loader is not None:
                    val_loader = processes.share_of(val_loader, trainer)
                if datamodule is not None:
                    datamodule.val_dataloader = lambda: [] if val_loader is None else val_loader
                    trainer.fit(model, datamodule=datamodule, ckpt_path=resume_point)
                else:
                    train_loader = SeededLoader.like(train_loader, cfg.seed, trainer)
                    trainer.fit(model, train_loader, val_loader, ckpt_path=resume_point)
        except InputError:
            started = trainer.current_epoch > 0 or list(folder.glob("*.ckpt"))
            if trainer.is_global_zero and not started:
                shutil.rmtree(folder, ignore_errors=True)  # no epoch, so nothing to lose
            raise
    if trainer.interrupted:
        raise KeyboardInterrupt
    return folder


def resolve_run_folder(model, cfg: DictConfig, kind: str) -> dict[str, str | None]:
    """Where the run starts and what its folder is called, decided by its first process."""
    parent = Path(cfg.checkpoint.dir) / kind
    resume_point = find_resume_point(cfg, kind)
    if resume_point is not None:
        runs.require_fit(model, runs.load_weights(resume_point), resume_point)
    continues = resume_point is not None and resume_point.parent.parent == parent
    version = resume_point.parent.name if continues else runs.new_version(parent)
    _require_writable(parent)
    return {"resume_point": resume_point and str(resume_point), "version": version}


def _require_writable(parent: Path) -> None:
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise InputError(f"checkpoint.dir={parent.parent} cannot be written: {error}.") from error


def _trainer_options(cfg: DictConfig, callbacks: list, train_loader) -> dict:
    from solo_bayesncl.training.distributed import SyncBatchNorm

    accepted = inspect.signature(adapter().pl.Trainer.__init__).parameters
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
    # the loaders are shared among processes already; the key is called otherwise in Lightning 1
    for name in {"use_distributed_sampler", "replace_sampler_ddp"} & accepted.keys():
        options[name] = False
    if cfg.accelerator == "cpu" and options.pop("sync_batchnorm", False):
        options["plugins"] = [SyncBatchNorm()]
    return options


def _wandb_logger(cfg: DictConfig, version: str, continues: bool):
    try:
        import wandb  # noqa: F401
    except ImportError as error:
        raise InputError(
            "wandb.enabled=True, but wandb is not installed: `pip install wandb`, or set "
            "wandb.enabled=False (curves then go to metrics.csv and TensorBoard)."
        ) from error
    wandb_logger = adapter().pl.loggers.WandbLogger(
        name=cfg.name,
        project=cfg.wandb.project,
        entity=None if cfg.wandb.entity == "None" else cfg.wandb.entity,
        offline=cfg.wandb.offline,
        resume="allow" if continues else None,
        id=version,  # the same in all processes; wandb would choose one in the first
    )
    wandb_logger.log_hyperparams(OmegaConf.to_container(cfg))
    return wandb_logger
