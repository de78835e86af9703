"""Known factors of images, such as their background or font: the columns of a CSV file."""

import csv
import logging
from collections.abc import Sequence
from math import isqrt
from pathlib import Path

from torch.utils.data import Dataset

from solo_bayesncl.errors import InputError
from solo_bayesncl.metrics import Levels, levels_of

_logger = logging.getLogger(__name__)

METADATA = "metadata.csv"
# `source_index`, written by `solo-bayesncl data digits`, names the image, as `path` does
NO_FACTORS = ("path", "split", "class", "source_index")


def factors_of(images: Dataset, metadata: Path | None) -> dict[str, Levels]:
    """The factors of a data set's images, by name.

    Args:
        images: image folder.
        metadata: a file as `read_factors` reads it; by default `metadata.csv` beside the folder,
            which is ignored with a warning if it does not fit.

    Raises:
        InputError: if `metadata` is given and does not fit.
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
            raise InputError(f"--metadata {error}") from error
        _logger.warning("no factors are measured: %s", error)
        return {}


def read_factors(path: Path, images: Dataset) -> dict[str, Levels]:
    """The factors of a data set's images, by name.

    Args:
        path: CSV with a header. Its column `path` names each image relative to the CSV's folder or
            to the images' folder; every other column but split and class is a factor. Left out
            are columns of one value, columns that number or name the images, and, with a message,
            text of more than `most_levels` values.
        images: image folder; rows of other images are ignored.

    Raises:
        InputError: if the file cannot be read, lacks the column `path` or an image.
    """
    samples = getattr(images, "samples", None)
    if samples is None:
        raise InputError(
            f"{path}: only images in folders can have factors. Give such data with --data DIR."
        )
    try:
        # spreadsheets begin a file with a byte-order mark, which does not belong to the first name
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, names = list(reader), reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as CSV: {error}.") from error
    if not rows or "path" not in names:
        raise InputError(f"{path}: needs a header with a column `path`, and rows.")
    root, by_path = Path(images.root), {row["path"]: row for row in rows}
    of_images = []
    for file_name, _ in samples:
        relative = Path(file_name).relative_to(root).as_posix()
        row = by_path.get(f"{root.name}/{relative}") or by_path.get(relative)
        if row is None:
            raise InputError(f"{path} has no row for {root.name}/{relative} in its column `path`.")
        of_images.append(row)
    factors, most = {}, most_levels(len(of_images))
    for name in names:
        column = [row[name] for row in of_images]
        in_file = [row[name] for row in rows]
        if name in NO_FACTORS or _is_constant_or_name(column) or _is_numbering(in_file):
            continue
        factor = levels_of(column)
        if factor.kind == "categorical" and factor.num_levels > most:
            _logger.warning(
                "%s: column %s is left out: it has %d different values that are not all numbers; "
                "for %d images at most %d are used.",
                path, name, factor.num_levels, len(of_images), most,
            )  # fmt: skip
            continue
        factors[name] = factor
    return factors


def most_levels(num_images: int) -> int:
    """Most levels of a categorical factor, so that each has enough images."""
    return max(20, isqrt(num_images))


def _is_constant_or_name(column: Sequence[str | None]) -> bool:
    """One value only, or a different number or name for every image."""
    distinct = set(column)
    is_name = len(distinct) == len(column) and _as_numbers(column) is None
    return len(distinct) == 1 or is_name or _is_numbering(column)


def _is_numbering(column: Sequence[str | None]) -> bool:
    """Consecutive integers in some order."""
    numbers = set(_as_numbers(column) or ())
    return (
        len(numbers) == len(column)
        and all(number.is_integer() for number in numbers)
        and max(numbers) - min(numbers) == len(column) - 1
    )


def _as_numbers(column: Sequence[str | None]) -> list[float] | None:
    try:
        return [float(cell) for cell in column]
    except (TypeError, ValueError):
        return None
