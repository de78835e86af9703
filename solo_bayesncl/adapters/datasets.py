"""Properties of solo-learn's named data sets, and its pretraining data set made picklable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.utils.data import Dataset

Statistics = tuple[tuple[float, ...], tuple[float, ...]]

# timm's IMAGENET_DEFAULT_MEAN and _STD; importing timm takes seconds
IMAGENET_STATISTICS: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class NamedDataset:
    """A data set that solo-learn loads by name.

    Attributes:
        num_classes: number of labels.
        statistics: (mean, std) of the normalisation.
        size: side of the images in px, None if it differs among them.
        downloaded: whether torchvision downloads it where it is missing.
        images: numbers of images for pretraining, for a probe and for validation, None if folders
            have them.
    """

    num_classes: int
    statistics: Statistics
    size: int | None = None
    downloaded: bool = False
    images: tuple[int, int, int] | None = None


NAMED = {
    "cifar10": NamedDataset(
        10,
        ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        size=32,
        downloaded=True,
        images=(50_000, 50_000, 10_000),
    ),
    "cifar100": NamedDataset(
        100,
        ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
        size=32,
        downloaded=True,
        images=(50_000, 50_000, 10_000),
    ),
    "stl10": NamedDataset(
        10,
        ((0.4914, 0.4823, 0.4466), (0.247, 0.243, 0.261)),
        size=96,
        downloaded=True,
        images=(105_000, 5_000, 8_000),  # pretraining takes the unlabelled ones, too
    ),
    "imagenet": NamedDataset(1000, IMAGENET_STATISTICS),
    "imagenet100": NamedDataset(100, IMAGENET_STATISTICS),
}
DATASETS = (*NAMED, "custom")
DOWNLOADED = tuple(name for name, dataset in NAMED.items() if dataset.downloaded)
SIZES = {name: dataset.size for name, dataset in NAMED.items() if dataset.size}


def statistics(dataset: str, cfg: Mapping[str, Any]) -> Statistics:
    """(mean, std) of the normalisation: the data set's, else `mean` and `std` of `cfg`."""
    if dataset in NAMED:
        return NAMED[dataset].statistics
    mean, std = IMAGENET_STATISTICS
    return tuple(cfg.get("mean", mean)), tuple(cfg.get("std", std))


class IndexMixin:
    """Mixin, listed before a data set, whose samples are `(index, *sample)`.

    solo-learn defines such a class inside a function, so its objects cannot be pickled for loader
    processes that are not forked: on macOS and Windows, and everywhere since Python 3.14.
    """

    def __getitem__(self, index: int) -> tuple:
        return index, *super().__getitem__(index)

    def __reduce__(self) -> tuple:
        _, _, samples_class, *_ = type(self).__mro__
        return _restored, (samples_class, self.__dict__)


@cache
def _with_index(samples_class: type) -> type:
    return type(f"{samples_class.__name__}WithIndex", (IndexMixin, samples_class), {})


def _restored(samples_class: type, state: dict[str, Any]) -> Dataset:
    samples = object.__new__(_with_index(samples_class))
    samples.__dict__.update(state)
    return samples


def portable(samples: Dataset) -> Dataset:
    """solo-learn's pretraining data set, picklable."""
    return _restored(type(samples).__base__, vars(samples))
