"""A run's folder: its name, its record and its checkpoints."""

import logging
import random
import re
import string
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from solo_bayesncl import files
from solo_bayesncl.errors import InputError
from solo_bayesncl.runs.integrity import require_whole

_logger = logging.getLogger(__name__)

# in the folder of a run
DIVERGED = "diverged.json"  # where and why its training diverged
SKIPPED_IMAGES = "skipped_images.txt"  # images that it has gone on without


@dataclass(frozen=True)
class Run:
    """A pretraining or linear-evaluation run on disk.

    Attributes:
        folder: holds `args.json` and the checkpoints.
        checkpoint: the newest checkpoint that is not damaged, or the requested one.
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
        return cls(folder, checkpoint, read_settings(folder))

    @property
    def epoch(self) -> int:
        """`checkpoint_epoch` of the checkpoint."""
        return checkpoint_epoch(self.checkpoint)


def read_settings(folder: Path) -> DictConfig:
    """The settings that a run's `args.json` records; raises `InputError` if it has none."""
    settings = files.read_json(folder / "args.json")
    if settings is None:
        raise InputError(
            f"{folder} holds no args.json, the record of settings that solo-learn keeps beside "
            "its checkpoints; without it the model cannot be rebuilt."
        )
    return recorded_settings(settings, folder / "args.json")


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
    """A checkpoint by its file, or the latest one that is not damaged by its folder.

    Args:
        path: the file or the folder.
        key: the setting that holds the path, for messages.

    Raises:
        InputError: if there is none.
    """
    path = files.expand_home(path)
    given = f"{key}={path}" if key else f"{path}"
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"{given} does not exist. Give a .ckpt file or the folder of a run.")
    checkpoints = checkpoints_in(path)
    if not checkpoints:
        reason = f": its training diverged, see {DIVERGED}" if (path / DIVERGED).exists() else ""
        raise InputError(f"{given} holds no .ckpt file{reason}. Give the folder of a finished run.")
    if len(checkpoints) == 1:  # loading it will tell
        return checkpoints[0]
    return first_usable(checkpoints, require_whole)


def checkpoints_in(folder: Path) -> list[Path]:
    """A run's checkpoints, the latest one (by epoch, then by time) first."""
    keys = {}
    for file in folder.glob("*.ckpt"):
        with suppress(FileNotFoundError):  # a run in progress has replaced it
            if file.is_file():
                keys[file] = (checkpoint_epoch(file), file.stat().st_mtime)
    return sorted(keys, key=keys.__getitem__, reverse=True)


def first_usable(checkpoints: Sequence[Path], use: Callable[[Path], Any]) -> Path:
    """The first checkpoint for which `use` raises no `InputError`; warns of those before it.

    Raises:
        InputError: if there is none; names all of them.
    """
    errors = []
    for checkpoint in checkpoints:
        try:
            use(checkpoint)
        except InputError as error:
            errors.append(str(error))
            continue
        for error in errors:
            message = "%s Using the checkpoint before it: %s"
            _logger.warning(message, error, checkpoint, extra={"once": True})
        return checkpoint
    if len(errors) > 1:
        errors.append("No other checkpoint is in the folder.")
    raise InputError(" ".join(errors))


def new_folder(parent: Path) -> Path:
    """Creates a new run's folder, which no other process gets, with a name of solo-learn's form."""
    parent.mkdir(parents=True, exist_ok=True)
    while True:
        letters = random.SystemRandom().choices(string.ascii_lowercase + string.digits, k=8)
        folder = parent / ("offline-" + "".join(letters))
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
