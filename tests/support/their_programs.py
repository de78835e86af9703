"""Programs of solo-learn's kind, run in processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, environment

from solo_bayesncl import adapters

on_main = pytest.mark.skipif(
    not adapters.scripts_use_hydra(), reason="the scripts of solo-learn 1.0.2 do not use Hydra"
)


def python(*arguments: object, cwd: Path, path: Path | str = ROOT) -> subprocess.CompletedProcess:
    """Runs Python in a process of its own that finds this package, and Hydra its plugin."""
    env = environment(PYTHONPATH=str(path), WANDB_MODE="disabled")
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def last_line(done: subprocess.CompletedProcess) -> dict:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
