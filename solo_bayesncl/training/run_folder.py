"""Where a run is written, and from which checkpoint it resumes."""

import json
import logging
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from solo_bayesncl import files, runs
from solo_bayesncl.adapters import adapter
from solo_bayesncl.errors import InputError, prefix_errors
from solo_bayesncl.locks import is_locked, locked
from solo_bayesncl.runs.models import CLASSES, recorded_classes, training_classes
from solo_bayesncl.training.checkpoint_io import PARTIAL, CheckpointIO, size_on_disk

_logger = logging.getLogger(__name__)

RECORD = "args.json"
CURVES = "metrics.csv"
_TIMEOUT = 60  # seconds that another start may take to decide
_LISTED = 3  # settings in a message


@dataclass(frozen=True)
class RunFolder:
    """A run's folder, `<checkpoint.dir>/<kind>/<version>/`.

    Attributes:
        path: the folder; the kind is the method's name, or "linear".
        resume_point: checkpoint to resume from, None to start from random weights.
        step: optimizer steps done before `resume_point`.
        is_new: whether this start has created the folder.
    """

    path: Path
    resume_point: Path | None
    step: int | None = None
    is_new: bool = True

    @property
    def continues(self) -> bool:
        """Whether the run continues in the folder of its checkpoint."""
        return self.resume_point is not None and not self.is_new

    def is_finished(self, max_epochs: int) -> bool:
        """Whether the run has reached its last epoch."""
        return self.continues and runs.checkpoint_epoch(self.resume_point) + 1 >= max_epochs

    def as_json(self) -> dict[str, Any]:
        """The same in JSON's types, for `from_json` on other ranks."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}

    def record(self, cfg: DictConfig) -> None:
        """Writes the settings, by which other processes know the run; raises `WriteError`."""
        settings = {**OmegaConf.to_container(cfg), "wandb_run_id": self.path.name}
        try:
            with files.writing(self.path / RECORD):
                if classes := _classes(cfg):
                    files.write_json(self.path / CLASSES, {"classes": classes}, indent=None)
                files.write_text(self.path / RECORD, json.dumps(settings, default=str))
        except BaseException:
            self.remove_if_new()
            raise

    def remove_if_new(self) -> None:
        """Removes a folder that this start has created, with what it has written there."""
        if self.is_new:
            shutil.rmtree(self.path, ignore_errors=True)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "RunFolder":
        paths = {name: content[name] and Path(content[name]) for name in ("path", "resume_point")}
        return cls(**(content | paths))


def resolve_run_folder(
    model: nn.Module, cfg: DictConfig, kind: str, checkpoint_io: CheckpointIO, held: ExitStack
) -> RunFolder:
    """The folder and the resume point of a run; says what it has decided, and records the settings.

    Args:
        model: the checkpoint must have its weights' names and shapes.
        cfg: settings with solo-learn's defaults.
        kind: the method's name, or "linear".
        checkpoint_io: reads the checkpoint, for Lightning too.
        held: takes the folder's lock.

    Raises:
        InputError: if the checkpoint cannot be read or does not fit, nothing can be written, or
            another process trains this run.
    """
    parent = Path(cfg.checkpoint.dir) / kind
    if cfg.resume_from_checkpoint is not None:  # wrong ones are refused before folders are made
        runs.checkpoint_at(cfg.resume_from_checkpoint, "resume_from_checkpoint")
    _require_writable(parent)
    with locked(parent, _TIMEOUT):  # of two equal commands, the second finds the first one's record
        path, checkpoints = _to_continue(cfg, kind)
        if path is not None:
            with prefix_errors("This run is in progress"):
                held.enter_context(locked(path))
        resume_point = _usable(checkpoints, cfg, checkpoint_io) if checkpoints else None
        folder = RunFolder(path, resume_point, is_new=path is None)
        finished = folder.is_finished(cfg.max_epochs)
        if resume_point is not None:
            content = checkpoint_io.read(resume_point)
            runs.require_fit(model, runs.weights_of(content), resume_point)
            if folder.continues:
                _require_same_classes(path, cfg)
            if not finished:
                step = _require_training_state(cfg, resume_point, content)
                folder = replace(folder, step=step)
        if finished:
            return folder
        if cfg.checkpoint.enabled:
            _require_space(parent, size_on_disk(model, cfg.optimizer.name))
        if path is None:
            folder = replace(folder, path=runs.new_folder(parent))
            held.enter_context(locked(folder.path))
        else:
            _remove_leftovers(path)
        if cfg.checkpoint.enabled:
            folder.record(cfg)
    return folder


def _to_continue(cfg: DictConfig, kind: str) -> tuple[Path | None, Sequence[Path]]:
    """(folder to continue in, checkpoints to resume from: the first that is not damaged)."""
    parent = Path(cfg.checkpoint.dir) / kind
    if cfg.resume_from_checkpoint is not None:
        checkpoint = runs.checkpoint_at(cfg.resume_from_checkpoint, "resume_from_checkpoint")
        _logger.info("resuming %s", checkpoint)
        folder = checkpoint.resolve().parent
        return parent / folder.name if folder.parent == parent.resolve() else None, [checkpoint]
    recorded = runs.recorded_runs(cfg, kind) if cfg.auto_resume.enabled else []
    same = [run for run in recorded if not run.differences]
    if same:
        run = next((run for run in same if is_locked(run.folder)), same[0])
        return run.folder, run.checkpoints
    nearest = next((run for run in recorded if run.checkpoints), None)
    if nearest is not None:
        _logger.info("%s", _difference(nearest))
    return None, []


def _classes(cfg: DictConfig) -> tuple[str, ...] | None:
    return None if cfg.data.get("no_labels") else training_classes(cfg)


def _require_same_classes(folder: Path, cfg: DictConfig) -> None:
    """Raises `InputError` if class folders have other names than when the run began."""
    before, now = recorded_classes(folder), _classes(cfg)
    if before is not None and now is not None and before != now:
        changed = sorted({*before} ^ {*now})
        raise InputError(
            f"data.train_path={cfg.data.train_path} has other classes than when {folder} began: "
            f"{', '.join(changed[:_LISTED])} of {len(changed)}. Name them as before, or set "
            "auto_resume.enabled=False to train anew."
        )


def _difference(run: runs.RecordedRun) -> str:
    """Why a run is not continued, and how it can be."""
    listed = [
        f"{key} ({theirs} there, {ours} here)" for key, (theirs, ours) in run.differences.items()
    ]
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return (
        f"a new run: {run.folder} differs in {', '.join(listed[:_LISTED])}{more}. To continue that "
        f"one all the same: resume_from_checkpoint={run.checkpoints[0]}"
    )


def _usable(checkpoints: Sequence[Path], cfg: DictConfig, checkpoint_io: CheckpointIO) -> Path:
    if cfg.resume_from_checkpoint is not None:
        return checkpoints[0]
    try:
        checkpoint = runs.first_usable(checkpoints, checkpoint_io.read)
    except InputError as error:
        raise InputError(f"{error} To train anew, set auto_resume.enabled=False.") from error
    _logger.info("resuming %s (auto_resume.enabled=False starts anew)", checkpoint)
    return checkpoint


def _require_writable(parent: Path) -> None:
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise InputError(f"checkpoint.dir={parent.parent} cannot be written: {error}.") from error


def _require_space(parent: Path, size: int) -> None:
    free = shutil.disk_usage(parent).free
    if free < size:
        raise InputError(
            f"checkpoint.dir={parent.parent} is on a disk with {free / 1e6:.0f} MB free, but a "
            f"checkpoint of this model takes about {size / 1e6:.0f} MB. Free some space, or give "
            "another folder."
        )


def _remove_leftovers(folder: Path) -> None:
    """Removes files that a killed run was writing."""
    for path in folder.glob(f"*-ep=*{PARTIAL}"):
        path.unlink(missing_ok=True)
    for name in (RECORD, CURVES):
        files.remove_temporaries(folder, name)


def _require_training_state(cfg: DictConfig, checkpoint: Path, content: dict) -> int:
    """The optimizer steps done before a checkpoint that training can resume from.

    Raises:
        InputError: if it holds weights only, the state of another optimizer, or the next major
            version of Lightning wrote it: Lightning would take such a run for finished.
    """
    written, installed = content.get("pytorch-lightning_version", "0"), adapter().pl.__version__
    reason = None
    if "optimizer_states" not in content:
        reason = "it holds weights but no optimizer state"
    elif int(written.split(".")[0]) > int(installed.split(".")[0]):
        reason = f"Lightning {written} wrote it, and {installed} is installed"
    elif (other := _other_optimizer(cfg, checkpoint, content)) is not None:
        reason = f"it holds the state of {other}, but optimizer.name={cfg.optimizer.name}"
    if reason is not None:
        raise InputError(
            f"Training cannot resume from {checkpoint}: {reason}. To train anew, set "
            "resume_from_checkpoint=null and auto_resume.enabled=False."
        )
    return content["global_step"]


def _other_optimizer(cfg: DictConfig, checkpoint: Path, content: dict) -> str | None:
    """The optimizer of a checkpoint if it is not the recipe's, by the record or by its state."""
    with suppress(InputError):
        recorded = OmegaConf.select(runs.read_settings(checkpoint.parent), "optimizer.name")
        if recorded is not None:
            return None if recorded == cfg.optimizer.name else recorded
    states = [state for of in content["optimizer_states"] for state in of["state"].values()]
    adaptive = any("exp_avg" in state for state in states)
    if not states or adaptive == cfg.optimizer.name.startswith("adam"):
        return None
    return "Adam or AdamW" if adaptive else "SGD or LARS"
