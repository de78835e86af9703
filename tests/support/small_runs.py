"""Pretraining that takes half a second, and interruptions of it at chosen moments."""

import csv
import operator
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from conftest import RECIPES, tiny

from solo_bayesncl import files, runs
from solo_bayesncl.__main__ import main
from solo_bayesncl.training.checkpoint_io import PARTIAL
from solo_bayesncl.training.seeding import SeededLoader, SeededSteps


def arguments(images: Path, out: Path, *more: str, recipe: str = "bayesncl") -> list[str]:
    """Two epochs of three steps, unless `more` says otherwise."""
    command = ["pretrain", "--config-path", str(RECIPES / "pretrain/custom"), "--config-name"]
    options = ["max_epochs=2", "accelerator=cpu", "++log_every_n_steps=1"]
    return [*command, recipe, *tiny(images, out, *options, *more)]


def checkpoint_of(run: Path) -> dict:
    """The content of the last checkpoint; a run killed after it has the one before, too."""
    return torch.load(runs.checkpoints_in(run)[0], weights_only=True)


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_same_training(run: Path, expected: Path) -> None:
    """Weights, optimizer state and curves are equal, bit for bit."""
    actual, wanted = checkpoint_of(run), checkpoint_of(expected)
    for content in (actual, wanted):  # loading adds options without effect to LARS's groups
        content["optimizer_states"] = [state["state"] for state in content["optimizer_states"]]
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        first, second = _leaves(actual[part]), _leaves(wanted[part])
        assert first.keys() == second.keys(), (part, first.keys() ^ second.keys())
        for place, value in second.items():
            same = torch.equal if torch.is_tensor(value) else operator.eq
            assert same(first[place], value), (part, place)
    assert rows(run) == rows(expected)


def _leaves(content: object, place: tuple = ()) -> dict[tuple, object]:
    """Values of nested dicts and lists, by place."""
    if not isinstance(content, dict | list | tuple):
        return {place: content}
    items = content.items() if isinstance(content, dict) else enumerate(content)
    return {k: v for key, value in items for k, v in _leaves(value, (*place, key)).items()}


@contextmanager
def at(moment: str, act: Callable[[], object]) -> Iterator[None]:
    """Calls `act` once, at a moment of training that starts while this is open."""
    pending = [act]

    def happen() -> None:
        if pending:
            pending.pop()()

    with pytest.MonkeyPatch.context() as patch:
        MOMENTS[moment](patch, happen)
        yield


def _in_step(patch: pytest.MonkeyPatch, happen: Callable[[], None]) -> None:
    start = SeededSteps.on_train_batch_start

    def hook(self, trainer, module, batch, batch_idx, *unused):
        start(self, trainer, module, batch, batch_idx, *unused)
        if batch_idx == 1:
            happen()

    patch.setattr(SeededSteps, "on_train_batch_start", hook)


def _between_epochs(patch: pytest.MonkeyPatch, happen: Callable[[], None]) -> None:
    start = SeededLoader.__iter__

    def iterate(self):
        if self.current_epoch() > 0:
            happen()
        return start(self)

    patch.setattr(SeededLoader, "__iter__", iterate)


def _in_checkpoint(patch: pytest.MonkeyPatch, happen: Callable[[], None]) -> None:
    flush = files.flush

    def half(file):
        if file.name.endswith(PARTIAL):
            size = file.tell()
            file.truncate(size // 2)
            happen()
            file.truncate(size)
        flush(file)

    patch.setattr(files, "flush", half)


def _before_renaming(patch: pytest.MonkeyPatch, happen: Callable[[], None]) -> None:
    replace = Path.replace

    def rename(self, target):
        if self.suffix == PARTIAL:
            happen()
        return replace(self, target)

    patch.setattr(Path, "replace", rename)


def _after_renaming(patch: pytest.MonkeyPatch, happen: Callable[[], None]) -> None:
    replace = Path.replace

    def rename(self, target):
        renamed = replace(self, target)
        if self.suffix == PARTIAL:
            happen()
        return renamed

    patch.setattr(Path, "replace", rename)


def _in_curves(patch: pytest.MonkeyPatch, happen: Callable[[], None]) -> None:
    flush = files.flush

    def after(file):
        flush(file)
        if file.name.endswith("metrics.csv"):
            happen()

    patch.setattr(files, "flush", after)


MOMENTS = {
    "in a step": _in_step,
    "between epochs": _between_epochs,
    "in the middle of a checkpoint": _in_checkpoint,
    "before a checkpoint is renamed": _before_renaming,
    "after a checkpoint is renamed": _after_renaming,
    "after the curves are written": _in_curves,
}


def kill_at(moment: str, typed: list[str]) -> None:
    """The whole life of a process that is killed by `kill -9` in training."""
    torch.set_num_threads(1)
    with at(moment, lambda: os.kill(os.getpid(), signal.SIGKILL)):
        os._exit(main(typed))
