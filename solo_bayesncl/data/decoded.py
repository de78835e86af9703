"""The images of a data set, decoded once and kept in memory as uint8 where they fit."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from solo_bayesncl import memory
from solo_bayesncl.console import progress
from solo_bayesncl.data.images import UnreadableImageError, open_image
from solo_bayesncl.data.transforms import without_transform
from solo_bayesncl.data.unreadable import (
    Failures,
    ReadableSamples,
    UnreadableImages,
    require_readable,
)

SHARE = 0.5  # of the available memory, that the images of all processes of a machine may take
_AT_ONCE = 1024  # images that threads are given; what they return waits in memory
_logger = logging.getLogger(__name__)


class DecodedImages(Dataset):
    """Images in memory: (index, PIL image, label), as a pretraining data set without transform.

    In the place of an image that could not be read is the next one that could, with its own index
    and label.

    Attributes:
        pixels: uint8 of each image: (N, H, W, 3), or a list of (H, W, 3) where sizes differ.
        labels: (N,).
        sources: (N,), index of the image that is in each place.
    """

    def __init__(self, pixels: Tensor | list[np.ndarray], labels: Tensor, sources: Tensor):
        self.pixels = pixels
        self.labels = labels
        self.sources = sources

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[int, Image.Image, int]:
        source = int(self.sources[index])
        image = Image.fromarray(np.asarray(self.pixels[source]))
        return source, image, int(self.labels[source])

    def batch(self, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Indexes (B,), pixels (B, H, W, 3) and labels (B,) of images of one size."""
        indexes = self.sources[places]
        return indexes, self.pixels.index_select(0, indexes), self.labels[indexes]


def common_side(images: Dataset, threads: int = 1) -> int | None:
    """The side in px of images that are all squares of one size, or None.

    Reads headers, up to the first image of another size.
    """
    if not hasattr(images, "samples"):  # CIFAR, STL-10
        return images.data.shape[2]
    sizes = (size for size in _sizes(images, range(len(images)), threads) if size is not None)
    first = next(sizes, None)
    square = first is not None and first[0] == first[1]
    return first[0] if square and all(size == first for size in sizes) else None


def decode(
    images: Dataset, unreadable: UnreadableImages, processes: int = 1, threads: int = 1
) -> DecodedImages | None:
    """The images of a data set, or None if they take too much memory.

    Args:
        images: a pretraining data set: of a folder, or torchvision's CIFAR or STL-10.
        unreadable: takes the images that cannot be read.
        processes: of this machine, each of which keeps the images.
        threads: that decode.

    Raises:
        InputError: for an image that cannot be read, unless it may be skipped.
    """
    if not hasattr(images, "samples"):
        return _from_arrays(images)
    limit = SHARE * memory.available() / processes
    count = len(images)
    some = np.linspace(0, count - 1, min(256, count)).astype(int)
    areas = [width * height for width, height in filter(None, _sizes(images, some, threads))]
    needed = 3 * count * np.mean(areas or [0])
    if needed > limit:
        _logger.info(
            "The images take about %.1f GB decoded, and %.1f GB may be used: they are decoded for "
            "each batch.",
            needed / 1e9,
            limit / 1e9,
        )
        return None
    samples = ReadableSamples(without_transform(images), unreadable.reading)
    found = _in_threads(samples.__getitem__, range(count), threads)
    pixels, failures = _collect(progress(found, "Decoding images", count), count, unreadable)
    labels = torch.tensor([label for _, label in images.samples])
    readable = np.setdiff1d(np.arange(count), list(failures))
    if not len(readable):
        require_readable(failures)
    following = np.searchsorted(readable, np.arange(count)) % len(readable)
    return DecodedImages(pixels, labels, torch.from_numpy(readable[following]))


def _collect(
    found: Iterator[tuple[Any, Failures]], count: int, unreadable: UnreadableImages
) -> tuple[Tensor | list[np.ndarray], Failures]:
    """Pixels of samples: in one tensor as long as all have one size."""
    failures: Failures = {}
    kept: Any = None
    for place, (sample, failed) in enumerate(found):
        failures |= failed
        unreadable.add(failed.values())
        if sample is None:
            if isinstance(kept, list):
                kept.append(None)
            continue
        image = np.asarray(sample[1])
        if kept is None:
            kept = np.empty((count, *image.shape), np.uint8)  # takes memory as it is filled
        if isinstance(kept, list):
            kept.append(image)
        elif image.shape == kept.shape[1:]:
            kept[place] = image
        else:
            kept = [*kept[:place], image]
    return torch.from_numpy(kept) if isinstance(kept, np.ndarray) else kept, failures


def _from_arrays(images: Any) -> DecodedImages:
    """Of CIFAR or STL-10, which torchvision keeps in memory."""
    pixels = torch.from_numpy(images.data)
    if pixels.shape[1] == 3:  # STL-10 has the channels first
        pixels = pixels.permute(0, 2, 3, 1)
    labels = images.targets if hasattr(images, "targets") else images.labels
    return DecodedImages(pixels, torch.as_tensor(labels).long(), torch.arange(len(pixels)))


def _sizes(images: Any, indexes: Any, threads: int) -> Iterator[tuple[int, int] | None]:
    """(width, height) of images by their headers; None where they cannot be read."""

    def size(index: int) -> tuple[int, int] | None:
        try:
            with open_image(images.samples[index][0]) as image:
                return image.size
        except UnreadableImageError:
            return None

    return _in_threads(size, indexes, threads)


def _in_threads(function: Any, items: Any, threads: int) -> Iterator[Any]:
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for start in range(0, len(items), _AT_ONCE):
            yield from pool.map(function, items[start : start + _AT_ONCE])
