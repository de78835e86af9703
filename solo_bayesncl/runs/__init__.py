"""What does a run's folder hold, and how is it opened? The one place that loads checkpoints."""

from solo_bayesncl.runs.checkpoints import (
    fill_module,
    load_checkpoint,
    load_weights,
    non_finite,
    require_finite,
    require_fit,
    weights_of,
)
from solo_bayesncl.runs.resumable import (
    RecordedRun,
    comparable,
    find_resumable,
    recorded_runs,
)
from solo_bayesncl.runs.run import (
    DIVERGED,
    SKIPPED_IMAGES,
    Run,
    checkpoint_at,
    checkpoint_epoch,
    checkpoints_in,
    first_usable,
    new_folder,
    read_settings,
    recorded_settings,
)

__all__ = [
    "DIVERGED", "SKIPPED_IMAGES", "RecordedRun", "Run", "checkpoint_at", "checkpoint_epoch",
    "checkpoints_in", "comparable", "fill_module", "find_resumable", "first_usable",
    "load_checkpoint", "load_weights", "new_folder", "non_finite", "read_settings",
    "recorded_runs", "recorded_settings", "require_finite", "require_fit", "weights_of",
]  # fmt: skip
