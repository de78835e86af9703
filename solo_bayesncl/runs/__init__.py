"""What does a run's folder hold, and how is it opened? The one place that loads checkpoints."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "checkpoints": [
            "fill_module",
            "load_checkpoint",
            "load_weights",
            "non_finite",
            "require_finite",
            "require_fit",
            "weights_of",
        ],
        "resumable": ["RecordedRun", "comparable", "find_resumable", "recorded_runs"],
        "run": [
            "DIVERGED",
            "SKIPPED_IMAGES",
            "Run",
            "checkpoint_at",
            "checkpoint_epoch",
            "checkpoints_in",
            "first_usable",
            "new_folder",
            "read_settings",
            "recorded_settings",
        ],
    },
)
