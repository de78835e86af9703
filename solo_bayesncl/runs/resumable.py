"""Which run do settings continue, and which settings keep another run from it?"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes.paths import with_resolved_paths
from solo_bayesncl.runs.run import SKIPPED_IMAGES, Run, checkpoints_in, read_settings

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
    "data.on_corrupt",
    "data.max_image_pixels",
    "dali.device",
)
# settings that runs need not record, as they are newer than the first runs -> value without them
UNRECORDED = {
    "data.augment": "image",
    "method_kwargs.min_norm": 0.03,
    "method_kwargs.balance_weight": 0.0,
}
_ABSENT = "absent"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecordedRun:
    """A run with its difference from the settings of another.

    Attributes:
        folder: holds `args.json`.
        checkpoints: the latest first; none if it was killed in its first epoch.
        differences: dotted key -> (value of this run, value of the other).
    """

    folder: Path
    checkpoints: tuple[Path, ...]
    differences: dict[str, tuple[Any, Any]]

    @property
    def time(self) -> float:
        """When it was last written to, in seconds."""
        return (self.checkpoints or (self.folder / "args.json",))[0].stat().st_mtime


def recorded_runs(cfg: DictConfig, kind: str) -> list[RecordedRun]:
    """Runs of a kind, compared with `cfg`: the nearest ones first, of those the newest.

    All settings but `NOT_COMPARED` count. solo-learn compares eight of them, and so would resume a
    run with another seed or prior. Of equal runs, one without checkpoints comes last.

    Args:
        cfg: settings with solo-learn's defaults.
        kind: folder below `checkpoint.dir`: the method's name, or "linear".
    """
    parent = Path(cfg.checkpoint.dir) / kind
    settings = with_resolved_paths(comparable(OmegaConf.to_container(cfg)))
    found = []
    for record in parent.glob("*/args.json"):
        try:
            theirs = OmegaConf.to_container(read_settings(record.parent))
        except InputError as error:
            _logger.warning("%s is not continued: %s", record.parent, error)
            continue
        differences = _differences(with_resolved_paths(comparable(theirs)), settings)
        if (record.parent / SKIPPED_IMAGES).exists():  # how images are read has changed the run
            differences |= _differences(_reading(theirs), _reading(OmegaConf.to_container(cfg)))
        checkpoints = tuple(checkpoints_in(record.parent))
        found.append(RecordedRun(record.parent, checkpoints, differences))
    return sorted(found, key=lambda run: (len(run.differences), not run.checkpoints, -run.time))


def find_resumable(cfg: DictConfig, kind: str) -> Run | None:
    """The newest run with a checkpoint whose settings are those of `cfg`, or None."""
    for run in recorded_runs(cfg, kind):
        if run.checkpoints and not run.differences:
            return Run.open(run.folder)
    return None


def comparable(settings: dict) -> dict:
    """Settings without those that do not change what is learned, in JSON's own types."""
    kept = json.loads(json.dumps(settings, default=str))
    for key in (*NOT_COMPARED, *UNRECORDED):
        *path, last = key.split(".")
        node = kept
        for part in path:
            node = node.get(part) or {}
        if key in NOT_COMPARED or node.get(last) == UNRECORDED[key]:
            node.pop(last, None)
    return kept


def _reading(settings: dict) -> dict[str, Any]:
    """How images are read; runs of version 0.1.0 do not record it."""
    data = {"on_corrupt": "stop", "max_image_pixels": None} | (settings.get("data") or {})
    return {f"data.{key}": data[key] for key in ("on_corrupt", "max_image_pixels")}


def _differences(theirs: dict, ours: dict) -> dict[str, tuple[Any, Any]]:
    first, second = _flat(theirs), _flat(ours)
    return {
        key: (first.get(key, _ABSENT), second.get(key, _ABSENT))
        for key in {**second, **first}
        if first.get(key, _ABSENT) != second.get(key, _ABSENT)
    }


def _flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value; empty sections are values."""
    items = settings.items() if isinstance(settings, dict) else enumerate(settings)
    flat = {}
    for key, value in items:
        if isinstance(value, dict | list) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
