"""Folders of images as data sets: a folder per class, or images without labels."""

import logging
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image
from torch.utils.data import Dataset

from solo_bayesncl.adapters.datasets import IndexMixin
from solo_bayesncl.data.images import read_image
from solo_bayesncl.errors import InputError
from solo_bayesncl.image_files import (
    class_names,
    composed,
    find_images,
    is_folder,
    is_leftover,
    left_out_in_words,
    require_class_folders,
    require_flat,
)

_logger = logging.getLogger(__name__)


class ImageFiles(Dataset):
    """Image files and their labels.

    Attributes:
        root: folder that holds them.
        samples: (path, label) of each image.
        transform: of a PIL image in RGB; None to yield it as it is.
        load: from a path to a PIL image in RGB.
    """

    root: str
    samples: list[tuple[str, int]]
    transform: Callable | None
    load: Callable[[str], Image.Image]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        path, label = self.samples[index]
        image = self.load(path)
        return image if self.transform is None else self.transform(image), label


class ClassFolder(ImageFiles):
    """Images in a folder per class.

    Args:
        root: holds the class folders.
        transform, load: as in `ImageFiles`.
        classes: names by label; by default those of the class folders, sorted. If given, folders
            are matched by name, and a class may have no folder or no images.
        key: setting that holds `root`, for messages.

    Attributes:
        classes: names by label.

    Raises:
        InputError: for a folder without classes, a class without images, or a class that `classes`
            lacks.
    """

    def __init__(
        self,
        root: str | Path,
        transform: Callable | None = None,
        classes: Sequence[str] | None = None,
        key: str = "data.train_path",
        load: Callable[[str], Image.Image] = read_image,
    ):
        self.root, self.transform, self.load = str(root), transform, load
        images = _images_by_class(self.root, key)
        self.classes = tuple(images if classes is None else classes)
        if classes is None:
            _require_images(images, self.root, key)
        labels = {composed(name): label for label, name in enumerate(self.classes)}
        unknown = [name for name, paths in images.items() if paths and composed(name) not in labels]
        if unknown:
            raise InputError(
                f"{key}={root} has classes that the training images lack: {_first_names(unknown)}. "
                f"Training has: {_first_names(self.classes)}. Classes are matched by the names of "
                f"their folders: rename or remove those of {key}."
            )
        self.samples = [
            (path, labels[composed(name)]) for name, paths in images.items() for path in paths
        ]
        if not self.samples:
            raise InputError(f"{key}={root} has class folders, but no images in them.")


class FlatFolder(ImageFiles):
    """Images directly in a folder, without labels: their label is -1. Arguments as above."""

    def __init__(
        self,
        root: str | Path,
        transform: Callable | None = None,
        key: str = "data.train_path",
        load: Callable[[str], Image.Image] = read_image,
    ):
        require_flat(root, key)
        self.root, self.transform, self.load = str(root), transform, load
        images, left_out = find_images(self.root)
        _log_left_out(f"{key}={root}", left_out_in_words(left_out))
        if not images:
            raise InputError(f"{key}={root} holds no images.")
        self.samples = [(path, -1) for path in images]


class IndexedClassFolder(IndexMixin, ClassFolder):
    """`ClassFolder` for pretraining: (index, image, label)."""


class IndexedFlatFolder(IndexMixin, FlatFolder):
    """`FlatFolder` for pretraining: (index, image, -1)."""


def _images_by_class(root: str, key: str) -> dict[str, list[str]]:
    require_class_folders(root, key)
    with os.scandir(root) as entries:
        left_out = [e.name for e in entries if is_leftover(e.name) or not is_folder(e)]
    images = {}
    for name in class_names(root):
        images[name], others = find_images(Path(root, name))
        left_out += others
    _log_left_out(f"{key}={root}", left_out_in_words(left_out))
    return images


def _require_images(images: dict[str, list[str]], root: str, key: str) -> None:
    if empty := [name for name, paths in images.items() if not paths]:
        raise InputError(
            f"{key}={root} has class folders without images: {_first_names(empty)}. Add images, or "
            "remove these folders."
        )
    by_name: dict[str, str] = {}
    for name in images:
        if (other := by_name.setdefault(composed(name), name)) is not name:
            raise InputError(
                f"{key}={root} has two class folders {name!r} and {other!r}, whose names differ "
                "only in how accents are encoded: merge or rename them."
            )


def _first_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


@cache  # once, however many loaders read the folder
def _log_left_out(folder: str, left_out: str) -> None:
    if left_out:
        _logger.info("%s: left out %s", folder, left_out)
