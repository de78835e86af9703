"""Known factors of images, such as their background or font: the columns of a CSV file."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from solo_bayesncl.errors import ArgumentError, InputError
from solo_bayesncl.evaluation.metadata import as_key, read_table
from solo_bayesncl.metrics import levels_of

_logger = logging.getLogger(__name__)

METADATA = "metadata.csv"
# `source_index`, written by `solo-bayesncl data digits`, names the image, as `path` does
NO_FACTORS = ("split", "class", "source_index")


@dataclass(frozen=True)
class Factor:
    """A factor of the images that have a value of it.

    Attributes:
        known: (M,) bool, the images that have a value.
        levels: (number of known images,) int64, 0 to num_levels - 1, each of which occurs.
        num_levels: K.
        kind: as of `metrics.Levels`.
    """

    known: Tensor
    levels: Tensor
    num_levels: int
    kind: str

    @classmethod
    def of(cls, column: Sequence[str | None]) -> "Factor":
        """From a value for each image, None where there is none."""
        known = torch.tensor([cell is not None for cell in column])
        return cls(known, *levels_of([cell for cell in column if cell is not None]))

    def select(self, values: Tensor) -> Tensor:
        """The rows of (M, D) values whose images have a value of the factor."""
        return values if self.known.all() else values[self.known.to(values.device)]


def factors_of(images: Dataset, metadata: Path | None) -> dict[str, Factor]:
    """The factors of a data set's images, by name.

    Args:
        images: image folder.
        metadata: a file as `read_factors` reads it; by default `metadata.csv` beside the folder,
            which is ignored with a warning if it does not fit.

    Raises:
        ArgumentError: if `metadata` is given and does not fit.
    """
    path = metadata
    if path is None and hasattr(images, "root"):
        beside = Path(images.root).parent / METADATA
        path = beside if beside.is_file() else None
    if path is None:
        return {}
    try:
        return read_factors(path, images)
    except InputError as error:
        if metadata is not None:
            raise ArgumentError("metadata", error, "") from error
        _logger.warning("no factors are measured: %s", error)
        return {}


def read_factors(path: Path, images: Dataset) -> dict[str, Factor]:
    """The factors of a data set's images, by name.

    Args:
        path: a table as `read_table` reads it. Its column `path` names each image relative to the
            table's folder or to the images' folder; every other column but split and class is a
            factor. Left out are columns of one value, columns that number or name images or name
            the classes, and, with a message, text of more than `most_levels` values.
        images: image folder; rows of other images are ignored. Images without a value are left out
            of a factor, with a message.

    Raises:
        InputError: if the file cannot be read, lacks the column `path` or an image.
    """
    samples = getattr(images, "samples", None)
    if samples is None:
        raise InputError(
            f"{path}: only images in folders can have factors. Evaluate the run on such data."
        )
    table, root = read_table(path), Path(images.root)
    rows = []
    for file_name, _ in samples:
        relative = as_key(Path(file_name).relative_to(root).as_posix())
        row = table.row_of.get(f"{as_key(root.name)}/{relative}", table.row_of.get(relative))
        if row is None:
            raise InputError(f"{path} has no row for {root.name}/{relative} in its column `path`.")
        rows.append(row)
    labels = [label for _, label in samples]
    factors = {}
    for name, in_file in table.columns.items():
        column = [in_file[row] for row in rows]
        if name.casefold() in NO_FACTORS or _names_classes(column, labels):
            continue
        if _is_factor(path, name, column, in_file):
            factors[name] = Factor.of(column)
    return factors


def _names_classes(column: Sequence[str | None], labels: Sequence[int]) -> bool:
    """Whether each class has a value of its own, as the character has that is drawn."""
    pairs = {pair for pair in zip(column, labels, strict=True) if pair[0] is not None}
    values, classes = ({pair[place] for pair in pairs} for place in (0, 1))
    return len(pairs) == len(values) == len(classes)


def _is_factor(
    path: Path, name: str, column: Sequence[str | None], in_file: Sequence[str | None]
) -> bool:
    """Whether a column, given for the images and in the whole file, describes the images."""
    values = [cell for cell in column if cell is not None]
    if _is_constant_or_name(values) or _is_numbering([c for c in in_file if c is not None]):
        return False
    factor, most = levels_of(values), most_levels(len(values))
    if factor.kind == "categorical" and factor.num_levels > most:
        _logger.warning(
            "%s: column %s is left out: it has %d different values that are not all numbers; "
            "for %d images at most %d are used.",
            path, name, factor.num_levels, len(values), most,
        )  # fmt: skip
        return False
    if len(values) < len(column):
        _logger.warning(
            "%s: column %s has no value for %d of %d images, which are left out of its numbers.",
            path, name, len(column) - len(values), len(column),
        )  # fmt: skip
    return True


def most_levels(num_images: int) -> int:
    """Most levels of a categorical factor, so that each has enough images."""
    return max(20, isqrt(num_images))


def _is_constant_or_name(values: Sequence[str]) -> bool:
    """At most one value, or a different number or name for every image."""
    distinct = set(values)
    is_name = len(distinct) == len(values) and _as_numbers(values) is None
    return len(distinct) <= 1 or is_name or _is_numbering(values)


def _is_numbering(values: Sequence[str]) -> bool:
    """Consecutive integers in some order."""
    numbers = set(_as_numbers(values) or ())
    return (
        len(numbers) == len(values) > 0
        and all(number.is_integer() for number in numbers)
        and max(numbers) - min(numbers) == len(values) - 1
    )


def _as_numbers(values: Sequence[str]) -> list[float] | None:
    try:
        return [float(value) for value in values]
    except ValueError:
        return None
