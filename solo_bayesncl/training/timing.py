"""How long steps take: a few of them, after which training ends."""

import time
from statistics import fmean
from typing import Any

import torch

from solo_bayesncl.adapters import adapter

Callback = adapter().pl.callbacks.Callback


class EnoughError(Exception):
    """Ends training when enough steps have been timed."""


class StepTimer(Callback):
    """Times training steps and validation batches, and raises `EnoughError` after the latter.

    Args:
        skip: number of first steps and batches that do not count: they wait for the loader's
            processes, which then have batches ready in advance, and for what is tuned at first.
        seconds: after which the step or batch at hand is the last one.
    """

    def __init__(self, skip: int, seconds: float):
        self.skip = skip
        self.seconds = seconds
        self.steps: list[float] = []
        self.batches: list[float] = []

    @property
    def seconds_per_step(self) -> float:
        return self._mean(self.steps)

    @property
    def seconds_per_batch(self) -> float | None:
        """Of a validation batch; None where time was up before."""
        return self._mean(self.batches) if self.batches else None

    def _mean(self, durations: list[float]) -> float:
        return fmean(durations[self.skip :] or durations[-1:])

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._started = self._last = time.perf_counter()

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self._last = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, *unused: Any) -> None:
        self._record(self.steps, trainer)

    def on_validation_batch_end(self, trainer: Any, *unused: Any) -> None:
        self._record(self.batches, trainer)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        raise EnoughError

    def _record(self, durations: list[float], trainer: Any) -> None:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        durations.append(now - self._last)
        self._last = now
        if now - self._started > self.seconds:
            raise EnoughError
