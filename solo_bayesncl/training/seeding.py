"""Random numbers that depend on the seed and the place in training, not on the method or layout.

At one seed, all methods see the same images in the same order with the same augmentations, however
many numbers their construction and their steps draw. So do runs in any number of processes and of
loader processes: the global batches hold the same images. A resumed run goes on as if it had not
been interrupted. DALI takes the order from here; its pipelines are seeded in `training.dali`.
Crops that are made of batches take order and seed from here, too.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from solo_bayesncl.adapters import adapter
from solo_bayesncl.data.unreadable import (
    ReadableLoader,
    ReadableSamples,
    Reading,
    UnreadableImages,
    readable_options,
)

Callback = adapter().pl.callbacks.Callback

# purposes of random numbers, so that no two share them
_ORDER, _SAMPLE, _STEP, _CROPS = range(4)


def _seed_of(seed: int, purpose: int, *place: int) -> int:
    (state,) = np.random.SeedSequence([seed, purpose, *place]).generate_state(1, np.uint64)
    return int(state >> np.uint64(1))  # torch takes 63 bits


def seed_of_crops(seed: int, epoch: int) -> int:
    """Seed of an epoch's crops, where they are made of batches (`training.batches`)."""
    return _seed_of(seed, _CROPS, epoch)


def _seed_generators(seed_torch: Callable[[int], Any], seed: int) -> None:
    seed_torch(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


class SeededSamples(Dataset):
    """A data set that draws the augmentations of a sample by (seed, epoch, index).

    It is indexed by (epoch, index), so that loader processes may outlive an epoch; `epoch` is that
    of an index alone.
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
        _seed_generators(torch.default_generator.manual_seed, state)  # of the CPU alone
        return self.samples[index]


class SeededOrder(DistributedSampler):
    """(epoch, index) of this process's share of all samples, in an order of (seed, epoch).

    As a `DistributedSampler` it is not replaced by Lightning, which also calls its `set_epoch`, but
    in Lightning 2 only after the loader's processes have started: `SeededLoader` calls it before.
    """

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.epoch, index) for index in super().__iter__())


class SeededLoader(ReadableLoader):
    """A loader that sets the epoch of its order when the first batch is drawn.

    It cannot do so earlier: Lightning creates the iterator of a resumed run before it restores the
    epoch, which `current_epoch` returns.
    """

    def __init__(self, *args: Any, current_epoch: Callable[[], int], **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.current_epoch = current_epoch

    @classmethod
    def like(
        cls,
        loader: DataLoader,
        seed: int,
        trainer: Any,
        unreadable: UnreadableImages | None = None,
    ) -> "SeededLoader":
        """Shuffled batches of the loader's samples: this process's share of the global batches.

        Args:
            loader: has the samples, the batch size of a process and the worker options.
            seed: the run's.
            trainer: Lightning's; has the epoch, the rank and the world size.
            unreadable: takes the images that cannot be read, by default they are errors.
        """
        unreadable = unreadable or UnreadableImages(Reading())
        order = SeededOrder(
            loader.dataset,
            num_replicas=trainer.world_size,
            rank=trainer.global_rank,
            seed=_seed_of(seed, _ORDER),
            drop_last=loader.drop_last,
        )
        return cls(
            SeededSamples(ReadableSamples(loader.dataset, unreadable.reading, replace=True), seed),
            batch_size=loader.batch_size,
            sampler=order,
            drop_last=loader.drop_last,
            current_epoch=lambda: trainer.current_epoch,
            unreadable=unreadable,
            **readable_options(loader),
        )

    def __iter__(self) -> Iterator:
        epoch = self.current_epoch()
        self.dataset.epoch = epoch
        if isinstance(self.sampler, SeededOrder):  # Lightning's overfit_batches replaces it
            self.sampler.set_epoch(epoch)
        yield from super().__iter__()


class SeededSteps(Callback):
    """Seeds what a step draws (noise of a gate, mixup) by (seed, epoch, step, rank).

    So the loss curve of a gate with noise does depend on the number of processes.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, *unused: Any
    ) -> None:
        place = (trainer.current_epoch, batch_idx, trainer.global_rank)
        _seed_generators(torch.manual_seed, _seed_of(self.seed, _STEP, *place))
