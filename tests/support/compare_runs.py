"""Comparisons that take seconds."""

import json
from pathlib import Path

from conftest import tiny

PROBE = [
    "linear.max_epochs=1",
    "linear.optimizer.batch_size=16",
    "linear.precision=32-true",
    "++linear.enable_progress_bar=False",
]


def arguments(images: Path, out: Path, *more: str, name: str = "custom") -> list[str]:
    """A comparison that takes seconds: what is typed behind `pretrain` in other tests, too."""
    typed = [o for o in tiny(images, out) if not o.startswith("checkpoint.dir")]
    return ["compare", "--config-name", name, f"out={out}", *typed, *PROBE, *more]


def comparison(out: Path) -> dict:
    return json.loads((out / "comparison.json").read_text())
