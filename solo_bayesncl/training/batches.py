"""Batches whose crops are made at once, on the model's device (`data.augment=batch`).

The images, their order and indexes are those of the torchvision loader. A crop depends on seed,
epoch, image and its number alone: methods, processes and resumed runs see the same ones.

Images are decoded once and kept as uint8 where they fit in memory. Small squares of one size are
cropped on the device; others by Pillow in the loader's processes, which send less than the images.
Where the model is on the CPU, these processes do all of it: a thread for each is faster than
several threads for one, which wait for each other after every operation.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from solo_bayesncl.data.augment.batch import BatchAugmentation, cut, entries_of, upload
from solo_bayesncl.data.decoded import DecodedImages, common_side, decode
from solo_bayesncl.data.images import pixel_limit
from solo_bayesncl.data.loaders import worker_options
from solo_bayesncl.data.transforms import without_transform
from solo_bayesncl.data.unreadable import (
    Failures,
    ReadableLoader,
    ReadableSamples,
    UnreadableImages,
)
from solo_bayesncl.errors import InputError
from solo_bayesncl.training.seeding import SeededLoader, seed_of_crops

SMALL = 128  # px; cropping on the device reads whole images, and a matrix for each

# places in the data set, indexes (B,), images (B, H, W, 3) or a list of crops, labels (B,)
Images = tuple[Tensor, Tensor, Tensor | list[Tensor], Tensor]


class BatchLoader:
    """Batches of one process, `[indexes, crops, targets]` on its device.

    Args:
        loader: torchvision's, for pretraining.
        cfg: settings with solo-learn's defaults.
        trainer: Lightning's; has epoch, process and device.
        unreadable: takes the images that cannot be read.

    Raises:
        InputError: for an image that cannot be read, unless it may be skipped, and for images that
            cannot form a batch.
    """

    def __init__(
        self, loader: DataLoader, cfg: DictConfig, trainer: Any, unreadable: UnreadableImages
    ):
        self.cfg = cfg
        self.trainer = trainer
        self.order = SeededLoader.like(loader, cfg.seed, trainer)
        side = common_side(loader.dataset, loader.num_workers)
        if side is None and not all(entry.rrc.enabled for entry in entries_of(cfg)):
            raise InputError(
                "augmentations.INDEX.rrc.enabled=False keeps the shape of images, so with "
                f"data.augment=batch all of data.train_path={cfg.data.train_path} must be squares "
                "of one size: set data.augment=image, or rrc.enabled=True."
            )
        self.crops_on_device = side is not None and side <= SMALL
        self.decoded = None
        if self.crops_on_device or _processes_share_memory(loader):
            self.decoded = decode(loader.dataset, unreadable, len(cfg.devices), loader.num_workers)
        images = without_transform(loader.dataset) if self.decoded is None else self.decoded
        samples = ReadableSamples(images, unreadable.reading, replace=True)
        self.on_cpu = trainer.strategy.root_device.type == "cpu"
        options = worker_options(loader) | {"collate_fn": _as_it_is}
        if self.crops_on_device and self.decoded is not None and not self.on_cpu:
            # nothing is left to do for other processes
            options = {"collate_fn": _as_it_is, "pin_memory": loader.pin_memory}
        self.loader = ReadableLoader(
            BatchSamples(samples, cfg, self.crops_on_device, self.on_cpu),
            batch_sampler=self.order.batch_sampler,
            unreadable=unreadable,
            **options,
        )

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[list]:
        epoch = self.trainer.current_epoch
        self.order.sampler.set_epoch(epoch)
        if self.on_cpu:
            for _, *batch in self.loader:
                yield batch
            return
        device = self.trainer.strategy.root_device
        augment = BatchAugmentation(self.cfg, device)
        make = augment.of_images if self.crops_on_device else augment.of_crops
        seed = seed_of_crops(self.cfg.seed, epoch)
        for places, indexes, images, targets in self.loader:
            crops = make(images, places.numpy(), seed)
            yield [upload(indexes, device), crops, upload(targets, device)]


class BatchSamples(Dataset):
    """Batches of images for `BatchLoader`, made in the loader's processes.

    Args:
        samples: of (index, PIL image, label).
        cfg: settings with solo-learn's defaults.
        whole: whether images are kept whole, or cut to crops of the recipe's size.
        finish: whether to augment them here, on the CPU.
    """

    def __init__(self, samples: ReadableSamples, cfg: DictConfig, whole: bool, finish: bool):
        self.samples = samples
        self.seed = cfg.seed
        self.whole = whole
        self.finish = finish
        self.augment = BatchAugmentation(cfg, torch.device("cpu"))

    def __getitems__(self, places: list[tuple[int, int]]) -> tuple[Images | None, Failures]:
        """The images at (epoch, index); None if one cannot be read, and what cannot be read."""
        seed = seed_of_crops(self.seed, places[0][0])
        numbers = np.array([index for _, index in places])
        indexes, images, labels, failures = self._read(numbers)
        if images is None:
            return None, failures
        if not self.whole:
            with pixel_limit(self.samples.reading.max_pixels):  # which Pillow checks here, too
                images = cut(self.augment.entries, images, numbers, seed)
        if self.finish:
            make = self.augment.of_images if self.whole else self.augment.of_crops
            images = make(images, numbers, seed)
        return (torch.from_numpy(numbers), indexes, images, labels), failures

    def _read(self, numbers: np.ndarray) -> tuple[Any, Any, Any, Failures]:
        """Indexes, images (a tensor if they are kept whole) and labels."""
        images = self.samples.samples
        if self.whole and isinstance(images, DecodedImages):
            return *images.batch(torch.from_numpy(numbers)), {}
        samples, failures = [], {}
        for number in numbers.tolist():
            sample, failed = self.samples[number]
            failures |= failed
            if sample is None:
                return None, None, None, failures
            samples.append(sample)
        indexes, read, labels = zip(*samples, strict=True)
        if self.whole:
            read = torch.from_numpy(np.stack([np.asarray(image) for image in read]))
        return torch.tensor(indexes), read, torch.tensor(labels), failures


def pretrain_loader(cfg: DictConfig, loader: DataLoader) -> Callable[..., BatchLoader]:
    """From the trainer, and what takes unreadable images, to batches for pretraining.

    Args:
        cfg: settings with solo-learn's defaults.
        loader: torchvision's, of the same images.
    """
    return partial(BatchLoader, loader, cfg)


def _processes_share_memory(loader: DataLoader) -> bool:
    """Whether the loader's processes can read what this one holds: only forked ones can."""
    return loader.num_workers == 0 or multiprocessing.get_start_method() == "fork"


def _as_it_is(batch: Any) -> Any:
    return batch
