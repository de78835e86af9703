"""Someone's own images as a data set for laptops: a split, and small squares to train on.

    OUT/images/{train,val}/<class>/<name>.png    squares of a few pixels, read once
    OUT/images/metadata.csv                      a row for each: path, split, class, source
    OUT/split/{train,val}/<class>/<name>         links to the originals, where DIR has no split

Images without labels lie directly in `train` and `val`. DIR itself is only read.
"""

import hashlib
import logging
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import chain, count
from pathlib import Path
from typing import Any

from PIL import Image

from solo_bayesncl import files
from solo_bayesncl.console import progress
from solo_bayesncl.data.folder import MARK, Sample, Summary, write_folder
from solo_bayesncl.data.links import link_or_copy, require_free
from solo_bayesncl.data.own_folder import Classes, OwnFolder, find_own_images
from solo_bayesncl.data.settings import Settings
from solo_bayesncl.data.squares import read_squares
from solo_bayesncl.errors import ArgumentError, InputError
from solo_bayesncl.image_files import composed
from solo_bayesncl.text import printable

_logger = logging.getLogger(__name__)

DATA, SPLIT = "images", "split"  # folders in OUT
DATASET = "own images"
SIZE = 64  # px, twice what is trained on
MAX_IMAGES = 5000
VAL_SHARE = 0.25
MAX_NAME = 200  # bytes of a file's name; most file systems take 255
LEAST = {"train": 64, "val": 16}
LEAST_IMAGES = 100  # that are enough for both, unless most classes have two images


@dataclass(frozen=True, kw_only=True)
class OwnSettings(Settings):
    """Settings of the data set.

    Attributes:
        source: the folder of the originals.
        digest: of the names and sizes of all its images.
        most: how many images are taken at most.
        seed: of the split and of the choice of images.
    """

    source: str
    digest: str
    most: int
    seed: int


@dataclass(frozen=True)
class _Image:
    """An original.

    Attributes:
        path: of the file.
        label: its class, as the name of a folder.
        name: path in the folder of the class, without ending.
    """

    path: Path
    label: str
    name: str


def make_own_images(
    out: str | Path, *, images: str | Path, most: int = MAX_IMAGES, seed: int = 0
) -> Summary:
    """Makes a data set from a folder of images; layout above.

    The images of each class are split at random, three to one, with at least one of both kinds; a
    class of a single image is trained on alone. If the folder has a split, that is kept. Of more
    than `most` images, so many are chosen at random, with the shares of classes and splits.

    A square is the centre of a photo; a drawing on a transparent ground is put on grey whole.

    Args:
        out: folder to write to. If it holds the same data set already, nothing is written.
        images: folder of the originals, as `find_own_images` understands it.
        most: about how many images are taken at most.
        seed: of what is random.

    Raises:
        InputError: for a folder of too few images, or one that has changed since `out` was made.
    """
    out, images = (Path(os.path.realpath(files.expand_home(folder))) for folder in (out, images))
    _require_apart(out, images)
    if most < LEAST_IMAGES:
        raise ArgumentError("max_images", most, f": give at least {LEAST_IMAGES}.")
    try:
        found = find_own_images(images)
        origin = {
            "source": printable(str(images)), "digest": _digest(found), "most": most, "seed": seed,
        }  # fmt: skip
    except OSError as error:
        raise ArgumentError("images", images, f" cannot be read: {error}.") from error
    if (settings := _settings_of(out, origin)) is not None:
        return write_folder(out / DATA, settings, ())
    splits = _chosen(found, most, seed)
    paths = [path for of in splits.values() for paths in of.values() for path in paths]
    squares = read_squares(paths, SIZE)
    splits = {
        split: {name: [path for path in paths if path in squares] for name, paths in of.items()}
        for split, of in splits.items()
    }
    if found.val is None:
        splits = _split(splits["train"], seed)
    by_split = {split: _named(of, found.root_of(split)) for split, of in splits.items()}
    counts = {split: len(of) for split, of in by_split.items()}
    _require_enough(images, splits)
    if found.val is None:
        _link(out / SPLIT, by_split)
    settings = OwnSettings(
        dataset=DATASET, train_size=counts["train"], val_size=counts["val"], size=SIZE,
        **origin,
    )  # fmt: skip
    return write_folder(out / DATA, settings, _samples(by_split, squares, images))


def _require_apart(out: Path, images: Path) -> None:
    if out.is_file():
        raise ArgumentError("out", out, " is a file. Give a folder.")
    if out == images or images in out.parents:
        raise ArgumentError(
            "out", out, f" is in {images}, the folder of images. Give a folder elsewhere."
        )
    if out in images.parents:
        raise ArgumentError(
            "out", out, f" holds {images}, the folder of images. Give a folder elsewhere."
        )


def _digest(found: OwnFolder) -> str:
    """Changes when images come, go, or change their size in bytes."""
    digest = hashlib.sha256()
    for split, classes in found.splits.items():
        for path in (path for paths in classes.values() for path in paths):
            name = path.relative_to(found.root_of(split))
            digest.update(os.fsencode(f"{split}\0{name}\0{_bytes_of(path)}\n"))
    return digest.hexdigest()


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a link to nothing: an image that cannot be read
        return -1


def _settings_of(out: Path, origin: dict[str, Any]) -> OwnSettings | None:
    """Those of the data set that is there, None without any; raises if it is of other images."""
    record = files.read_json(out / DATA / MARK)
    if record is None:
        return None
    if record.get("dataset") != DATASET:
        raise ArgumentError("out", out, f": {DATA} in it is another data set. Give another folder.")
    others = {
        "source": "the images of {}",
        "digest": "an earlier state of these images, which have changed since",
        "most": "a choice of at most {} images",
        "seed": "a split with seed {}",
    }
    for key, value in origin.items():
        if record.get(key) != value:
            what = others[key].format(record.get(key))
            problem = f" is a demo of {what}. Give another folder, or delete this one."
            raise ArgumentError("out", out, problem)
    return OwnSettings(**{field.name: record[field.name] for field in fields(OwnSettings)})


def _chosen(found: OwnFolder, most: int, seed: int) -> dict[str, Classes]:
    """All images, or the same share of each class, but at least two of it."""
    number = _number(found.splits)
    if number <= most:
        return found.splits

    def part(paths: list[Path], key: str) -> list[Path]:
        return sorted(_shuffled(paths, key)[: max(2, round(len(paths) * most / number))])

    chosen = {
        split: {name: part(paths, f"{seed}/{split}/{name}") for name, paths in classes.items()}
        for split, classes in found.splits.items()
    }
    _logger.info(
        "%d of %d images are used, a random choice that keeps the shares of classes and at least "
        "two images of each; --max-images N changes that",
        _number(chosen), number,
    )  # fmt: skip
    return chosen


def _number(splits: dict[str, Classes]) -> int:
    return sum(len(paths) for classes in splits.values() for paths in classes.values())


def _split(classes: Classes, seed: int) -> dict[str, Classes]:
    splits: dict[str, Classes] = {"train": {}, "val": {}}
    for name, paths in classes.items():
        number = max(1, round(VAL_SHARE * len(paths))) if len(paths) > 1 else 0
        shuffled = _shuffled(paths, f"{seed}/{name}")
        splits["val"][name], splits["train"][name] = shuffled[:number], shuffled[number:]
    if single := [name for name, paths in classes.items() if len(paths) == 1]:
        more = f" and {len(single) - 5} more" if len(single) > 5 else ""
        _logger.info(
            "classes of a single image, which is trained on and not validated: %s%s",
            ", ".join(single[:5]), more,
        )  # fmt: skip
    return splits


def _shuffled(paths: list[Path], seed: str) -> list[Path]:
    return random.Random(seed).sample(paths, len(paths))


def _named(classes: Classes, root: Path) -> list[_Image]:
    """The images of a split, with names that are safe everywhere and differ within a class."""
    images = []
    for label, paths in classes.items():
        taken: set[str] = set()
        for path in sorted(paths):
            inside = path.relative_to(root / label)
            # folders in a folder of images without labels would be taken for classes
            joined = (inside.as_posix() if label else "-".join(inside.parts)).replace("\\", "_")
            name = _free(_shortened(Path(printable(joined))), taken)
            images.append(_Image(path, printable(composed(label)), name))
    return images


def _shortened(path: Path) -> Path:
    """With a file name that every file system takes."""
    if len(os.fsencode(path.name)) <= MAX_NAME:
        return path
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]
    start = os.fsencode(path.stem)[: MAX_NAME // 2].decode(errors="ignore")
    return path.with_name(f"{start}-{digest}{path.suffix}")


def _free(path: Path, taken: set[str]) -> str:
    """The path without ending or, where that is taken (a.png beside a.jpg), another; now taken."""
    stem = path.with_suffix("").as_posix()
    names = chain((stem, path.as_posix()), (f"{stem}-{number}" for number in count(2)))
    name = next(name for name in names if composed(name).casefold() not in taken)
    taken.add(composed(name).casefold())
    return name


def _require_enough(folder: Path, splits: dict[str, Classes]) -> None:
    """Raises `InputError` for too few images that can be read, or too few classes of them."""
    counts = {split: sum(map(len, classes.values())) for split, classes in splits.items()}
    if any(counts[split] < least for split, least in LEAST.items()):
        raise InputError(
            f"{folder} has {counts['train']} images to train on and {counts['val']} to validate "
            f"on. The demo needs at least {LEAST['train']} and {LEAST['val']}; a folder without a "
            f"split should hold {LEAST_IMAGES}."
        )
    trained, validated = (
        [composed(name) for name, paths in splits[split].items() if paths]
        for split in ("train", "val")
    )
    if lacking := [name for name in validated if name not in trained]:
        raise InputError(
            f"{folder}: no image to train on can be read of {', '.join(lacking[:5])}. Repair these "
            "images, or remove the class."
        )
    if len(splits["train"]) > 1 and len(trained) == 1:
        raise InputError(f"{folder}: only images of {trained[0]} can be read. Repair the others.")


def _link(out: Path, by_split: dict[str, list[_Image]]) -> None:
    links = {
        Path(split, image.label, f"{image.name}{image.path.suffix}"): image.path
        for split, images in by_split.items()
        for image in images
    }
    try:
        require_free(out, links, "the split of these images")
        for path, source in progress(links.items(), "Linking the split"):
            link_or_copy(source, out / path)
    except OSError as error:
        raise ArgumentError("out", out, f" cannot be made: {error}.") from error


def _samples(
    by_split: dict[str, list[_Image]], squares: dict[Path, Image.Image], folder: Path
) -> Iterator[Sample]:
    for split, images in by_split.items():
        for image in images:
            source = {"source": printable(str(image.path.relative_to(folder)))}
            yield Sample(split, image.label, image.name, squares[image.path], source)
