"""Where a run is written, and which checkpoint it resumes."""

import logging
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from omegaconf import DictConfig
from torch import nn

from solo_bayesncl import runs
from solo_bayesncl.errors import InputError

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """A run's folder, `<checkpoint.dir>/<kind>/<version>/`.

    Attributes:
        parent: `<checkpoint.dir>/<kind>`; the kind is the method's name, or "linear".
        version: the folder's name.
        resume_point: checkpoint to start from, None for a new run.
    """

    parent: Path
    version: str
    resume_point: Path | None

    @property
    def path(self) -> Path:
        return self.parent / self.version

    @property
    def continues(self) -> bool:
        """Whether the run continues in the folder of its checkpoint."""
        return self.resume_point is not None and self.resume_point.parent == self.path

    def as_json(self) -> dict[str, str | None]:
        """The same in JSON's types, for `from_json` on other ranks."""
        return {name: value and str(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, content: dict[str, str | None]) -> "RunFolder":
        resume_point = content["resume_point"]
        return cls(Path(content["parent"]), content["version"], resume_point and Path(resume_point))


def resolve_run_folder(model: nn.Module, cfg: DictConfig, kind: str) -> RunFolder:
    """Where a run starts and what its folder is called; to be decided on rank zero alone.

    Args:
        model: whose weights the checkpoint must fit.
        cfg: settings with solo-learn's defaults.
        kind: the method's name, or "linear".

    Raises:
        InputError: if the checkpoint cannot be read or does not fit, or nothing can be written.
    """
    parent = Path(cfg.checkpoint.dir) / kind
    resume_point = find_resume_point(cfg, kind)
    if resume_point is not None:
        runs.require_fit(model, runs.load_weights(resume_point), resume_point)
    continues = resume_point is not None and resume_point.parent.parent == parent
    version = resume_point.parent.name if continues else runs.new_version(parent)
    _require_writable(parent)
    return RunFolder(parent, version, resume_point)


def find_resume_point(cfg: DictConfig, kind: str) -> Path | None:
    """The checkpoint to continue from, if any.

    Args:
        cfg: settings with solo-learn's defaults.
        kind: the method's name, or "linear".

    Raises:
        InputError: if `resume_from_checkpoint` cannot be read.
    """
    if cfg.resume_from_checkpoint is not None:
        path = runs.checkpoint_at(cfg.resume_from_checkpoint, "resume_from_checkpoint")
        runs.load_checkpoint(path)
        return path
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
