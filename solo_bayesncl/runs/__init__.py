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
from solo_bayesncl.runs.run import (
    DIVERGED,
    Run,
    checkpoint_at,
    checkpoint_epoch,
    comparable,
    find_resumable,
    new_version,
    recorded_settings,
)

__all__ = [
    "DIVERGED", "Run", "checkpoint_at", "checkpoint_epoch", "comparable", "fill_module",
    "find_resumable", "load_checkpoint", "load_weights", "new_version", "non_finite",
    "recorded_settings", "require_finite", "require_fit", "weights_of",
]  # fmt: skip
