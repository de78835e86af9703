"""Measures how fast methods train here, in a process of its own.

So it changes neither the random numbers nor the memory of the runs that follow, and its files are
temporary.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from solo_bayesncl import files
from solo_bayesncl.comparison.plan import Job
from solo_bayesncl.errors import InputError
from solo_bayesncl.signals import kill_with_parent

RECIPES, SPEEDS = "recipes.json", "speeds.json"
STEPS = 10  # that count
SECONDS = 20.0  # of a method
SECONDS_IN_ALL = 120.0  # methods that are not reached are taken to be as fast as the others
LONGEST = 900.0  # seconds; a single step of a large model on a CPU can take minutes


@dataclass(frozen=True)
class Speed:
    """How fast a method is.

    Attributes:
        step: seconds of a training step, in one process.
        image: seconds of a validation image, None where it was not reached.
    """

    step: float
    image: float | None = None


def speeds_of(jobs: Iterable[Job]) -> dict[str, Speed]:
    """Speeds of the methods of jobs, measured one after another for at most some minutes.

    Returns:
        method -> speed; methods that time was too short for are left out.

    Raises:
        InputError: if none could be measured.
    """
    recipes = {job.method: OmegaConf.to_container(job.cfg, resolve=True) for job in jobs}
    with tempfile.TemporaryDirectory(prefix="solo-bayesncl-") as folder:
        files.write_json(Path(folder, RECIPES), recipes)
        command = [sys.executable, "-m", "solo_bayesncl.comparison.measure", folder]
        try:
            done = subprocess.run(
                command,
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=LONGEST,
                preexec_fn=kill_with_parent(),
            )
            reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        except subprocess.TimeoutExpired:
            reason = f"no step ended in {LONGEST:.0f} seconds"
        measured = files.read_json(Path(folder, SPEEDS))
    if not measured:
        raise InputError(reason)
    return {method: Speed(**speed) for method, speed in measured.items()}


def main(folder: Path) -> None:
    """Measures the recipes in a folder, and writes what is known after each of them there."""
    from solo_bayesncl.training.pretraining import pretrain  # imports solo-learn
    from solo_bayesncl.training.timing import EnoughError, StepTimer

    started, speeds = time.monotonic(), {}
    for method, recipe in json.loads((folder / RECIPES).read_text(encoding="utf-8")).items():
        cfg = _for_a_few_steps(recipe, folder)
        timer = StepTimer(skip=cfg.limit_train_batches - STEPS, seconds=SECONDS)
        with suppress(EnoughError):
            pretrain(cfg, callbacks=[timer])
        batch = timer.seconds_per_batch
        image = None if batch is None else batch / recipe["optimizer"]["batch_size"]
        speeds[method] = asdict(Speed(timer.seconds_per_step, image))
        files.write_json(folder / SPEEDS, speeds)
        if time.monotonic() - started > SECONDS_IN_ALL:
            return


def _for_a_few_steps(recipe: dict[str, Any], folder: Path) -> DictConfig:
    """The recipe for one process, a few steps and batches of validation, and no lasting files."""
    batches = 1 + (recipe["data"].get("num_workers") or 0) + STEPS
    cfg = OmegaConf.create(recipe)
    for key, value in {
        "checkpoint.dir": str(folder / "runs"),
        "checkpoint.enabled": False,
        "auto_resume.enabled": False,
        "wandb.enabled": False,
        "enable_progress_bar": False,
        "devices": 1,
        "num_nodes": 1,
        "max_steps": -1,
        "max_time": None,
        "val_check_interval": None,
        "check_val_every_n_epoch": 1,
        "num_sanity_val_steps": 0,
        "limit_train_batches": batches,
        "limit_val_batches": batches,
    }.items():
        OmegaConf.update(cfg, key, value, merge=False, force_add=True)
    return cfg


if __name__ == "__main__":
    main(Path(sys.argv[1]))
