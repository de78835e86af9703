"""ImageNet-100: 100 classes of an ImageNet download, as links to it.

    OUT/train/<class>    link to the folder of the class
    OUT/val/<class>      the same, or, of a flat validation folder, a folder of links to images

Where links are not possible, images are copied.
"""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from solo_bayesncl.console import progress
from solo_bayesncl.data.folder import Summary
from solo_bayesncl.data.imagenet_labels import NEEDED, validation_classes
from solo_bayesncl.data.links import Links, is_done, link_or_copy, require_free
from solo_bayesncl.errors import ArgumentError, InputError
from solo_bayesncl.files import expand_home
from solo_bayesncl.image_files import find_images

VAL_IMAGES = 50  # of each class

_KAGGLE = ("ILSVRC", "Data", "CLS-LOC")  # folders of Kaggle's archive around train/ and val/
_ROOTS = ("", *("/".join(_KAGGLE[start:]) for start in range(3)))
_SPLITS = {
    "train": ("train", "ILSVRC2012_img_train"),
    "val": ("val", "ILSVRC2012_img_val"),
}
_FLAT = re.compile(r"ILSVRC2012_val_\d{8}\.jpe?g", re.IGNORECASE)

_logger = logging.getLogger(__name__)


@cache
def imagenet100_classes() -> tuple[str, ...]:
    """WordNet IDs of the 100 classes, sorted: the position of a class is its label."""
    lines = (Path(__file__).parent / "imagenet100.txt").read_text(encoding="utf-8").splitlines()
    return tuple(sorted(line for line in lines if not line.startswith("#")))


def make_imagenet100(out: str | Path, *, imagenet: str | Path) -> Summary:
    """Links the training and validation images of ImageNet-100 from a download of ImageNet.

    Repeated, it adds what is missing. Files that exist are neither replaced nor removed.

    Args:
        out: folder for `train/` and `val/`.
        imagenet: folder of ImageNet (ILSVRC 2012): `train/` and `val/` in it, or Kaggle's
            `ILSVRC/Data/CLS-LOC/`. `train/` has a folder per class; `val/` has the same, or all
            images, whose classes are in one of the files of `data.imagenet_labels`.

    Raises:
        ArgumentError: for what is missing in `imagenet`, all of it in one message, or if `out`
            holds something else or cannot be written.
    """
    out, imagenet = (Path(os.path.realpath(expand_home(folder))) for folder in (out, imagenet))
    try:
        links, images = _find(imagenet)
    except OSError as error:
        raise ArgumentError("imagenet", imagenet, f" cannot be read: {error}.") from error
    try:
        require_free(out, links, "ImageNet-100 of this download")
        missing = {p: source for p, source in links.items() if not is_done(out / p, source)}
        linked = [
            link_or_copy(source, out / path)
            for path, source in progress(missing.items(), "Linking ImageNet-100")
        ]
    except OSError as error:
        raise ArgumentError("out", out, f" cannot be made: {error}.") from error
    if any(linked):
        _logger.info("%s holds links: keep %s where it is.", out, imagenet)
    fewer = [f"{name} ({n})" for name, n in sorted(images["val"].items()) if n < VAL_IMAGES]
    if fewer:
        _logger.warning(
            "ImageNet has %s validation images of each class; %s classes have fewer here: %s.",
            VAL_IMAGES, len(fewer), ", ".join(fewer[:5]) + ", ..." * (len(fewer) > 5),
        )  # fmt: skip
    sizes = (images[split].total() for split in _SPLITS)
    return Summary(out, imagenet100_classes(), *sizes, reused=not missing)


def _find(imagenet: Path) -> tuple[Links, dict[str, Counter]]:
    """(links; number of images by split and class); raises for all that is missing."""
    if not imagenet.is_dir():
        raise ArgumentError("imagenet", imagenet, " is not a folder.")
    links, images, problems = {}, {}, []
    for split, names in _SPLITS.items():
        places = [imagenet / root / name for root in _ROOTS for name in names]
        folder = next((place for place in places if place.is_dir()), None)
        if folder is None:
            listed = ", ".join(str(place.relative_to(imagenet)) for place in places)
            problems.append(f"it has no folder {split} (looked for {listed})")
            continue
        find = _in_flat_folder if split == "val" and _is_flat(folder) else _in_class_folders
        try:
            found = find(folder, imagenet)
        except InputError as error:
            problems.append(str(error))
            continue
        images[split] = Counter()
        for path, source, number in found:
            links[Path(split, path)] = source
            images[split][Path(path).parts[0]] += number
        lacking = [name for name in imagenet100_classes() if not images[split][name]]
        if lacking:
            packed = any((folder / f"{name}.tar").is_file() for name in lacking)
            problems.append(
                f"{folder} has no images of {len(lacking)} of the 100 classes: "
                f"{', '.join(lacking)}" + packed * " (unpack its .tar files)"
            )
    if problems:
        raise ArgumentError("imagenet", imagenet, ":\n" + "\n".join(f"- {p}" for p in problems))
    return links, images


def _is_flat(folder: Path) -> bool:
    """Whether a validation folder holds images rather than a folder of each class."""
    if any((folder / name).is_dir() for name in imagenet100_classes()):
        return False
    with os.scandir(folder) as entries:
        return any(_FLAT.fullmatch(entry.name) for entry in entries)


def _in_class_folders(folder: Path, imagenet: Path) -> list[tuple[str, Path, int]]:
    """(class, its folder, number of images in it) for each class that has images."""
    found = [
        (name, folder / name, len(find_images(folder / name)[0]))
        for name in progress(imagenet100_classes(), f"Reading {folder.name}")
        if (folder / name).is_dir()
    ]
    return [one for one in found if one[2]]


def _in_flat_folder(folder: Path, imagenet: Path) -> list[tuple[str, Path, int]]:
    """(class/name, the image, 1) for each image of the 100 classes."""
    places = list(_around(folder, imagenet))
    classes = validation_classes(places)
    listed = ", ".join(map(str, places))
    if classes is None:
        raise InputError(
            f"{folder} has all images in one folder, so a file with their classes is needed: "
            f"{NEEDED}. None is in {listed}"
        )
    names = sorted(path.name for path in folder.iterdir() if _FLAT.fullmatch(path.name))
    unknown = [name for name in names if Path(name).stem not in classes]
    if unknown:
        raise InputError(
            f"the file with the classes of {folder} lacks {len(unknown)} of its images, such as "
            f"{unknown[0]} (looked for {NEEDED} in {listed})"
        )
    of_names = ((classes[Path(name).stem], name) for name in names)
    return [
        (f"{wordnet_id}/{name}", folder / name, 1)
        for wordnet_id, name in of_names
        if wordnet_id in imagenet100_classes()
    ]


def _around(folder: Path, imagenet: Path) -> Iterator[Path]:
    """The validation folder and those above it, up to the one that Kaggle's archive unpacks to."""
    yield folder
    inside = True
    for place in folder.parents:
        yield place
        inside = inside and place != imagenet
        if not inside and place.name not in _KAGGLE:
            return
