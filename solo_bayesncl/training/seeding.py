"""Random numbers that depend on the seed and the place in training, not on the method or layout.

Methods that are compared at one seed see the same images in the same order with the same
augmentations, although one draws more numbers than another when it is built or in its steps. So do
a run in one process and the same run in several, with any number of loader processes: a batch of
all processes together holds the same images for any number of them. An interrupted run goes on as
if it had not been. DALI takes the order from here, and its pipeline has a seed of its own, of
(seed, epoch, process).
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from solo_bayesncl.adapters import adapter
from solo_bayesncl.data.loaders import worker_options

Callback = adapter().pl.callbacks.Callback

# what numbers are drawn for, so that no two purposes share them
_ORDER, _SAMPLE, _STEP = range(3)


def _seed_of(seed: int, purpose: int, *place: int) -> int:
    (state,) = np.random.SeedSequence([seed, purpose, *place]).generate_state(1, np.uint64)
    return int(state >> np.uint64(1))  # torch takes 63 bits


class SeededSamples(Dataset):
    """A data set whose samples are augmented by random numbers of (seed, epoch, index).

    The epoch comes with the index, so that loader processes may outlive an epoch.

    Args:
        samples: draws from the generators of torch, numpy and Python.
        seed: the run's.

    Attributes:
        epoch: of an index that comes alone.
    """

    def __init__(self, samples: Dataset, seed: int):
        self.samples = samples
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, place: tuple[int, int] | int) -> Any:
        """The sample at (epoch, index), or at an index."""
        epoch, index = place if isinstance(place, tuple) else (self.epoch, place)
        state = _seed_of(self.seed, _SAMPLE, epoch, index)
        torch.default_generator.manual_seed(state)
        np.random.seed(state % 2**32)
        random.seed(state)
        return self.samples[index]


class SeededOrder(DistributedSampler):
    """This process's share of all samples, in an order of (seed, epoch), as (epoch, index).

    Lightning replaces no sampler of this class, and tells it the epoch; the loader does so before,
    since Lightning 2 starts the loader's processes before it tells anybody that an epoch starts.
    """

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.epoch, index) for index in super().__iter__())


class SeededLoader(DataLoader):
    """A loader that tells its order the epoch when a pass begins, with its first batch.

    Lightning asks for the iterator of a resumed run before it knows the epoch.

    Args:
        current_epoch: says what epoch it is.
    """

    def __init__(self, *args: Any, current_epoch: Callable[[], int], **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.current_epoch = current_epoch

    @classmethod
    def like(cls, loader: DataLoader, seed: int, trainer: Any) -> "SeededLoader":
        """Shuffled batches of the loader's samples, or this process's share of each batch.

        Args:
            loader: gives the samples, the size of a batch in a process, and how to load.
            seed: the run's.
            trainer: Lightning's, which knows the epoch and the processes.
        """
        order = SeededOrder(
            loader.dataset,
            num_replicas=trainer.world_size,
            rank=trainer.global_rank,
            seed=_seed_of(seed, _ORDER),
            drop_last=loader.drop_last,
        )
        return cls(
            SeededSamples(loader.dataset, seed),
            batch_size=loader.batch_size,
            sampler=order,
            drop_last=loader.drop_last,
            current_epoch=lambda: trainer.current_epoch,
            **worker_options(loader),
        )

    def __iter__(self) -> Iterator:
        epoch = self.current_epoch()
        self.dataset.epoch = epoch
        if isinstance(self.sampler, SeededOrder):  # Lightning's overfit_batches replaces it
            self.sampler.set_epoch(epoch)
        yield from super().__iter__()


class SeededSteps(Callback):
    """Seeds what a step draws (noise of a gate, mixup) by (seed, epoch, step, process).

    So the loss curve of a gate that samples does depend on the number of processes.

    Args:
        seed: the run's.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, *unused: Any
    ) -> None:
        place = (trainer.current_epoch, batch_idx, trainer.global_rank)
        state = _seed_of(self.seed, _STEP, *place)
        torch.manual_seed(state)
        np.random.seed(state % 2**32)
        random.seed(state)
