"""Known factors of images, such as their background or font: a CSV file with a column for each."""

import csv
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from torch.utils.data import Dataset

from solo_bayesncl import metrics
from solo_bayesncl.errors import InputError

METADATA = "metadata.csv"
# the first names the image; the class is what everything else is measured against
NO_FACTORS = ("path", "split", "class")


@dataclass(frozen=True)
class Factor:
    """One factor of M images.

    Attributes:
        levels: (M,) int64 from 0; numbers of many values are binned.
        num_levels: how many there are.
        kind: "categorical" or "binned".
    """

    levels: Tensor
    num_levels: int
    kind: str


def find_metadata(images: Dataset) -> Path | None:
    """`metadata.csv` beside the folder of the images, as the demo's data sets have it."""
    root = getattr(images, "root", None)
    path = Path(root).parent / METADATA if root is not None else None
    return path if path is not None and path.is_file() else None


def read_factors(path: Path, images: Dataset) -> dict[str, Factor]:
    """The factors of a data set's images.

    Args:
        path: CSV with a header. Its column `path` names each image relative to the CSV's folder or
            to the images' folder; every other column but split and class is a factor. Columns with
            one value, and those that merely number the images, are left out.
        images: image folder; rows of other images are ignored.

    Raises:
        InputError: if the file cannot be read, lacks the column `path` or an image.
    """
    samples = getattr(images, "samples", None)
    if samples is None:
        raise InputError(f"--metadata {path}: only images in folders can have factors.")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"--metadata {path} cannot be read as CSV: {error}.") from error
    if not rows or "path" not in rows[0]:
        raise InputError(f"--metadata {path}: needs a header with a column `path`, and rows.")
    root, by_path = Path(images.root), {row["path"]: row for row in rows}
    found = []
    for name, _ in samples:
        relative = Path(name).relative_to(root).as_posix()
        row = by_path.get(f"{root.name}/{relative}") or by_path.get(relative)
        if row is None:
            raise InputError(
                f"--metadata {path} has no row for {root.name}/{relative} in its column `path`."
            )
        found.append(row)
    factors = {}
    for name in rows[0]:
        column = [row[name] for row in found]
        if name not in NO_FACTORS and not _tells_nothing(column):
            factors[name] = Factor(*metrics.levels_of(column))
    return factors


def _tells_nothing(column: list[str | None]) -> bool:
    """One value only, or a number or name of its own for every image."""
    distinct = set(column)
    is_name = len(distinct) == len(column) and not any("." in str(value) for value in column)
    return len(distinct) == 1 or is_name
