"""A run's folder: its name, its record, its checkpoints, and which run can be resumed."""

import json
import random
import re
import string
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from solo_bayesncl import files
from solo_bayesncl.errors import InputError
from solo_bayesncl.runs.checkpoints import load_checkpoint

# settings that may differ between an interrupted run and the one that resumes it
NOT_COMPARED = (
    "resume_from_checkpoint",
    "auto_resume",
    "checkpoint",
    "wandb",
    "wandb_run_id",
    "debug_augmentations",
    "enable_progress_bar",
    "data.num_workers",
    "dali.device",
)

DIVERGED = "diverged.json"  # in the folder of a run whose training diverged: where and why


@dataclass(frozen=True)
class Run:
    """A pretraining or linear-evaluation run on disk.

    Attributes:
        folder: holds `args.json` and the checkpoints.
        checkpoint: the newest checkpoint, or the requested one.
        cfg: the run's settings as recorded in `args.json`.
    """

    folder: Path
    checkpoint: Path
    cfg: DictConfig

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Opens a run by its folder or one of its checkpoints.

        Raises:
            InputError: if there is no such file, or it is not a run of solo-learn.
        """
        checkpoint = checkpoint_at(path)
        folder = checkpoint.parent
        settings = files.read_json(folder / "args.json")
        if settings is None:
            raise InputError(
                f"{folder} holds no args.json, the record of settings that solo-learn keeps beside "
                "its checkpoints; without it the model cannot be rebuilt."
            )
        return cls(folder, checkpoint, recorded_settings(settings, folder / "args.json"))

    @property
    def epoch(self) -> int:
        """`checkpoint_epoch` of the checkpoint."""
        return checkpoint_epoch(self.checkpoint)

    @property
    def optimizer_steps(self) -> int | None:
        """Optimizer steps done before the checkpoint, None if it does not hold their number."""
        return load_checkpoint(self.checkpoint).get("global_step")


def recorded_settings(content: dict[str, Any], source: Path) -> DictConfig:
    """The settings of a record, which may come from anywhere: it cannot read the environment.

    Args:
        content: of the record. References of one setting to another are resolved: a sweep of
            solo-learn's script records a recipe's `preset`.
        source: file of the record, for messages.

    Raises:
        InputError: if a setting calls a resolver, such as `${oc.env:HOME}`.
    """
    for key, text in _texts(content):
        if "${" in _without_references(text):
            raise InputError(
                f"{source}: {key}={text} would be looked up on this machine. Replace it by a value."
            )
    cfg = OmegaConf.create(content)
    try:
        OmegaConf.resolve(cfg)
    except OmegaConfBaseException as error:
        raise InputError(f"{source} is damaged: {' '.join(str(error).split())}.") from error
    return cfg


def _texts(content: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, value) of every text in nested dicts and lists."""
    if isinstance(content, str):
        yield key, content
    elif isinstance(content, dict | list):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        for name, value in items:
            yield from _texts(value, f"{key}.{name}".lstrip("."))


def _without_references(text: str) -> str:
    """The text without `${other.key}`, from the innermost out; a call of a resolver has a colon."""
    shorter = re.sub(r"\$\{[^${}:]*\}", "", text)
    return text if shorter == text else _without_references(shorter)


def checkpoint_epoch(checkpoint: Path) -> int:
    """Epoch of a checkpoint, from 0; -1 if its name has none."""
    match = re.search(r"ep=(\d+)\.ckpt$", checkpoint.name)
    return int(match[1]) if match else -1


def checkpoint_at(path: str | Path, key: str = "") -> Path:
    """A checkpoint by its file, or the latest one (by epoch, then by time) by its folder.

    Args:
        path: the file or the folder.
        key: the setting that holds the path, for messages.

    Raises:
        InputError: if there is none.
    """
    path = Path(path)
    given = f"{key}={path}" if key else f"{path}"
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"{given} does not exist. Give a .ckpt file or the folder of a run.")
    checkpoints = [file for file in path.glob("*.ckpt") if file.is_file()]
    if not checkpoints:
        reason = f": its training diverged, see {DIVERGED}" if (path / DIVERGED).exists() else ""
        raise InputError(f"{given} holds no .ckpt file{reason}. Give the folder of a finished run.")
    return max(checkpoints, key=lambda file: (checkpoint_epoch(file), file.stat().st_mtime))


def new_version(parent: Path) -> str:
    """A name for a new run's folder, in solo-learn's form."""
    while True:
        letters = random.SystemRandom().choices(string.ascii_lowercase + string.digits, k=8)
        version = "offline-" + "".join(letters)
        if not (parent / version).exists():
            return version


def find_resumable(cfg: DictConfig, kind: str) -> Run | None:
    """The newest run whose settings are those of `cfg`, for `auto_resume`.

    All settings but `NOT_COMPARED` must agree. solo-learn compares eight of them, and so would
    resume a run with another seed or prior.

    Args:
        cfg: settings with solo-learn's defaults.
        kind: folder below `checkpoint.dir`: the method's name, or "linear".
    """
    parent = Path(cfg.checkpoint.dir) / kind
    settings = comparable(OmegaConf.to_container(cfg))
    candidates = []
    for record in parent.glob("*/args.json"):
        with suppress(InputError):
            run = Run.open(record.parent)
            if comparable(OmegaConf.to_container(run.cfg)) == settings:
                candidates.append(run)
    return max(candidates, key=lambda run: run.checkpoint.stat().st_mtime, default=None)


def comparable(settings: dict) -> dict:
    """Settings without those that do not change what is learned, in JSON's own types."""
    kept = json.loads(json.dumps(settings, default=str))
    for key in NOT_COMPARED:
        *path, last = key.split(".")
        node = kept
        for part in path:
            node = node.get(part) or {}
        node.pop(last, None)
    return kept
