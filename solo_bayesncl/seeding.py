"""Random numbers that depend on the seed and the place in training, not on the method."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from solo_bayesncl.hosts import host

Callback = host().pl.callbacks.Callback


class SeedByPlace(Callback):
    """Seeds every epoch by (seed, epoch, process), and every step's own draws apart from it.

    Methods that are compared at one seed so see the same images in the same order with the same
    augmentations, although one draws more numbers than another when it is built or in its steps
    (the noise of a sampling gate), and an interrupted run goes on as if it had not been. DALI
    draws from generators of its own, which this does not reach.

    Args:
        seed: the run's.
    """

    def __init__(self, seed: int):
        self.seed = seed
        self._trainer: Any = None
        self._loaders_state: torch.Tensor | None = None

    def setup(self, trainer: Any, pl_module: Any, stage: str | None = None) -> None:
        self._trainer = trainer

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.seed_epoch()

    def seed_epoch(self) -> None:
        """Seeds everything that loaders draw from for the epoch that the trainer is at."""
        state = self._derived(self._trainer.current_epoch, self._trainer.global_rank)
        torch.manual_seed(state)
        np.random.seed(state % 2**32)
        random.seed(state)

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, *unused: Any
    ) -> None:
        self._loaders_state = torch.get_rng_state()
        state = self._derived(trainer.current_epoch, trainer.global_rank, batch_idx)
        torch.default_generator.manual_seed(state)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any, **kwargs: Any) -> None:
        torch.set_rng_state(self._loaders_state)

    def _derived(self, *place: int) -> int:
        (state,) = np.random.SeedSequence([self.seed, *place]).generate_state(1, np.uint64)
        return int(state >> np.uint64(1))  # torch takes 63 bits


class SeededLoader(DataLoader):
    """A loader that calls `before_pass` before each pass over the data.

    Lightning 2 starts the loader's processes, which draw their seeds and the order, before it tells
    anybody that an epoch starts.
    """

    def __init__(self, *args: Any, before_pass: Callable[[], None], **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.before_pass = before_pass

    @classmethod
    def like(cls, loader: DataLoader, before_pass: Callable[[], None]) -> "SeededLoader":
        """The same loader otherwise."""
        return cls(
            loader.dataset,
            batch_size=loader.batch_size,
            sampler=loader.sampler,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            drop_last=loader.drop_last,
            before_pass=before_pass,
        )

    def __iter__(self) -> Iterator:
        self.before_pass()
        return super().__iter__()
