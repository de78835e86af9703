"""What becomes of images that cannot be read: a run stops at the first, or goes on without them.

Loader processes return what they could not read beside the samples of a batch, so that the process
which started them raises or records it, in the order of the batches.
"""

import copy
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from solo_bayesncl.data.images import UnreadableImageError, pixel_limit, read_image
from solo_bayesncl.data.loaders import worker_options
from solo_bayesncl.errors import InputError
from solo_bayesncl.text import printable

_logger = logging.getLogger(__name__)

NAMED = 5  # in messages
Failures = dict[int, UnreadableImageError]  # by index in the data set


@dataclass(frozen=True)
class Reading:
    """How the images of a data set are read.

    Attributes:
        max_pixels: `data.max_image_pixels`, None for Pillow's limit.
        skip: `data.on_corrupt=skip`: whether to go on without images that cannot be read.
    """

    max_pixels: int | None = None
    skip: bool = False

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Reading":
        """From the section `data` of a recipe or of a run's record."""
        return cls(data.get("max_image_pixels"), data.get("on_corrupt") == "skip")


class UnreadableImages:
    """The images that a run or an evaluation could not read.

    Args:
        reading: whether they stop it.
        record: a file for them, which the ranks of a run share: a line with name and reason each.
    """

    def __init__(self, reading: Reading, record: Path | None = None):
        self.reading = reading
        self.record = record
        self.reasons: dict[str, str] = {}

    def add(self, images: Iterable[UnreadableImageError]) -> None:
        """Records images, or raises `InputError` for the first if they stop the run."""
        named = {printable(image.name): image for image in images}
        new = {name: image for name, image in named.items() if name not in self.reasons}
        if new and not self.reading.skip:
            raise InputError(
                f"{next(iter(new.values()))} Repair or remove it, or leave out such images with "
                "data.on_corrupt=skip (or --on-corrupt skip)."
            )
        recorded = self.recorded() if new else {}
        self.reasons |= {name: image.reason for name, image in new.items()}
        lines = [f"{name}\t{new[name].reason}\n" for name in new if name not in recorded]
        if self.record is not None and lines:
            with suppress(OSError), self.record.open("a", encoding="utf-8") as file:
                file.writelines(lines)

    def recorded(self) -> dict[str, str]:
        """Reasons by name, also those of other ranks and from before the run was resumed."""
        recorded = {}
        if self.record is not None:
            with suppress(OSError), self.record.open(encoding="utf-8") as file:
                recorded = dict(line.rstrip("\n").split("\t", 1) for line in file if "\t" in line)
        return recorded | self.reasons

    def report(self) -> None:
        """Logs how many there are, the first names, and why the first cannot be read."""
        reasons = self.recorded()
        if not reasons:
            return
        names = list(reasons)
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        where = "" if self.record is None else f" All of them are listed in {self.record}."
        _logger.warning(
            "%d images cannot be read and are left out: %s%s. Reason of the first: %s.%s",
            len(names), ", ".join(names[:NAMED]), more, reasons[names[0]], where,
        )  # fmt: skip


class ReadableSamples(Dataset):
    """The samples of a data set that can be read.

    An item is `(sample, failures)`: what could not be read on the way, and None as the sample if
    it is left out.

    Args:
        samples: a data set; solo-learn's HDF5 data set is made to read by `read_image`, too.
        reading: of its images.
        replace: whether the next image that can be read takes the place of one that cannot, with
            its own index and label; else it is left out. The next one is the same in every process
            and after resuming.
        no_empty_batch: whether one is replaced where a batch would have none.
    """

    def __init__(
        self,
        samples: Dataset,
        reading: Reading,
        replace: bool = False,
        no_empty_batch: bool = False,
    ):
        if hasattr(samples, "loader"):
            samples = copy.copy(samples)
            samples.loader = read_image
        self.samples = samples
        self.reading = reading
        self.replace = replace
        self.no_empty_batch = no_empty_batch
        self.failures: Failures = {}  # so that none is tried twice

    def __len__(self) -> int:
        return len(self.samples)

    def __getitems__(self, indexes: Sequence[int]) -> list[tuple[Any, Failures]]:
        """The items of a batch."""
        items = [self[index] for index in indexes]
        if self.no_empty_batch and all(sample is None for sample, _ in items):
            items[0] = self._read(indexes[0], replace=True)
        return items

    def __getitem__(self, index: int) -> tuple[Any, Failures]:
        return self._read(index, self.replace)

    def _read(self, index: int, replace: bool) -> tuple[Any, Failures]:
        tried = {}
        while len(tried) < (len(self) if replace and self.reading.skip else 1):
            if index not in self.failures:
                try:
                    with pixel_limit(self.reading.max_pixels):
                        return self.samples[index], tried
                except UnreadableImageError as error:
                    # a new one, as this one's traceback would keep what was read
                    self.failures[index] = UnreadableImageError(*error.args)
            tried[index] = self.failures[index]
            index = (index + 1) % len(self)
        return None, tried


class ReadableLoader(DataLoader):
    """Batches of a data set's images that can be read.

    Args:
        unreadable: takes those that cannot.
        args, kwargs: of a `DataLoader` of `ReadableSamples`.

    Attributes:
        failures: the images that could not be read, by index.
    """

    def __init__(self, *args: Any, unreadable: UnreadableImages, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.unreadable = unreadable
        self.failures: Failures = {}

    @classmethod
    def like(
        cls, loader: DataLoader, unreadable: UnreadableImages, no_empty_batch: bool = False
    ) -> "ReadableLoader":
        """The batches of another loader without the images that cannot be read."""
        samples = ReadableSamples(loader.dataset, unreadable.reading, no_empty_batch=no_empty_batch)
        return cls(
            samples,
            batch_sampler=loader.batch_sampler,
            unreadable=unreadable,
            **readable_options(loader),
        )

    def __iter__(self) -> Iterator:
        empty = True
        for batch, failures in super().__iter__():
            self.failures |= failures
            self.unreadable.add(failures.values())
            if batch is not None:
                empty = False
                yield batch
        if empty:
            require_readable(self.failures)


def require_readable(failures: Failures) -> None:
    """Raises `InputError` for the failures of a data set of which nothing can be read."""
    if failures:
        first = next(iter(failures.values()))
        raise InputError(f"None of {len(failures)} images can be read. The first: {first}")


def readable_options(loader: DataLoader) -> dict[str, Any]:
    """The worker options of a loader, for one of `ReadableSamples`."""
    options = worker_options(loader)
    return options | {"collate_fn": partial(collate_readable, options["collate_fn"])}


def collate_readable(collate: Callable, items: list[tuple[Any, Failures]]) -> tuple[Any, Failures]:
    """A batch, None without any sample, and what could not be read for it."""
    samples = [sample for sample, _ in items if sample is not None]
    failures = {index: error for _, failed in items for index, error in failed.items()}
    return (collate(samples) if samples else None), failures


def without_images(samples: Dataset, left_out: Collection[int]) -> Dataset:
    """A copy of an image folder, or of solo-learn's HDF5 data set, without some of its images."""
    samples = copy.copy(samples)
    for name in ("samples", "_data"):
        if hasattr(samples, name):
            kept = [one for i, one in enumerate(getattr(samples, name)) if i not in left_out]
            setattr(samples, name, kept)
    return samples
