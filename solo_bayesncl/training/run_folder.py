"""Where a run is written, and from which checkpoint it resumes."""

import logging
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from omegaconf import DictConfig
from torch import nn

from solo_bayesncl import runs
from solo_bayesncl.adapters import adapter
from solo_bayesncl.errors import InputError

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """A run's folder, `<checkpoint.dir>/<kind>/<version>/`.

    Attributes:
        path: the folder; the kind is the method's name, or "linear".
        resume_point: checkpoint to resume from, None for a new run.
    """

    path: Path
    resume_point: Path | None

    @property
    def continues(self) -> bool:
        """Whether the run continues in the folder of its checkpoint."""
        return self.resume_point is not None and self.resume_point.parent == self.path

    def as_json(self) -> dict[str, str | None]:
        """The same in JSON's types, for `from_json` on other ranks."""
        return {name: value and str(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, content: dict[str, str | None]) -> "RunFolder":
        return cls(**{name: value and Path(value) for name, value in content.items()})


def resolve_run_folder(model: nn.Module, cfg: DictConfig, kind: str) -> RunFolder:
    """The folder and the resume point of a run; a new folder's name is random.

    Args:
        model: the checkpoint must have its weights' names and shapes.
        cfg: settings with solo-learn's defaults.
        kind: the method's name, or "linear".

    Raises:
        InputError: if the checkpoint cannot be read or does not fit, or nothing can be written.
    """
    parent = Path(cfg.checkpoint.dir) / kind
    resume_point = _resume_point(cfg, kind)
    if resume_point is not None:
        runs.require_fit(model, runs.load_weights(resume_point), resume_point)
    continues = resume_point is not None and resume_point.parent.parent == parent
    version = resume_point.parent.name if continues else runs.new_version(parent)
    _require_writable(parent)
    return RunFolder(parent / version, resume_point)


def _resume_point(cfg: DictConfig, kind: str) -> Path | None:
    if cfg.resume_from_checkpoint is not None:
        return runs.checkpoint_at(cfg.resume_from_checkpoint, "resume_from_checkpoint")
    run = runs.find_resumable(cfg, kind) if cfg.auto_resume.enabled else None
    if run is None:
        return None
    _logger.info("resuming %s (auto_resume.enabled=False starts anew)", run.checkpoint)
    return run.checkpoint


def _require_writable(parent: Path) -> None:
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise InputError(f"checkpoint.dir={parent.parent} cannot be written: {error}.") from error


def require_training_state(checkpoint: Path) -> int:
    """The optimizer steps done before a checkpoint that training can resume from.

    Raises:
        InputError: if it holds weights only, or the next major version of Lightning wrote it:
            Lightning would take such a run for finished.
    """
    content = runs.load_checkpoint(checkpoint)
    written, installed = content.get("pytorch-lightning_version", "0"), adapter().pl.__version__
    reason = None
    if "optimizer_states" not in content:
        reason = "it holds weights but no optimizer state"
    elif int(written.split(".")[0]) > int(installed.split(".")[0]):
        reason = f"Lightning {written} wrote it, and {installed} is installed"
    if reason is not None:
        raise InputError(
            f"Training cannot resume from {checkpoint}: {reason}. To train anew, set "
            "resume_from_checkpoint=null and auto_resume.enabled=False."
        )
    return content["global_step"]
