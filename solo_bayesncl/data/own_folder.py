"""What a folder of someone's own images holds: classes, splits, or images without labels."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from solo_bayesncl.errors import InputError
from solo_bayesncl.image_files import (
    IMAGE_EXTENSIONS,
    class_names,
    composed,
    find_images,
    is_image,
    left_out_in_words,
)

_logger = logging.getLogger(__name__)

# read by Pillow, though not by torchvision's ImageFolder
EXTENSIONS = (*IMAGE_EXTENSIONS, ".gif", ".avif", ".jfif", ".jp2")
_TRAIN = ("train", "training")
_VAL = ("val", "valid", "validation", "test")

UNLABELLED = ""  # the one class of images without labels
Classes = dict[str, list[Path]]  # name -> its images, in order


@dataclass(frozen=True)
class OwnFolder:
    """Images that a folder holds.

    Attributes:
        train: those to train on; all of them where the folder is not split.
        val: those to validate on, None where the folder is not split.
        roots: folder that holds the classes, by split.
    """

    train: Classes
    val: Classes | None
    roots: dict[str, Path]

    @property
    def splits(self) -> dict[str, Classes]:
        """The images by split."""
        return {"train": self.train} | ({} if self.val is None else {"val": self.val})

    def root_of(self, split: str) -> Path:
        """The folder that holds the classes of a split, of both splits where it is not split."""
        return self.roots.get(split, self.roots["train"])


def find_own_images(folder: Path) -> OwnFolder:
    """The images of a folder, with or without classes and splits.

    - `train` or `training` beside `val`, `valid`, `validation` or `test`, the first of them: both
      splits.
    - Two or more folders that hold images, however deep: classes.
    - Otherwise, and in each split: a single folder is entered; other images have no labels.

    What is taken, and what is left out, is logged.

    Raises:
        InputError: for a folder without images, or splits that do not fit each other.
    """
    if folder.is_file():
        raise InputError(f"{folder} is a file. Give a folder of images, an archive unpacked.")
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder.")
    names = {name.casefold(): name for name in class_names(folder)}
    train_name, val_name = (
        next((names[name] for name in accepted if name in names), None)
        for accepted in (_TRAIN, _VAL)
    )
    if train_name is None or val_name is None:
        _require_classes(folder, names)
        root, classes = _classes(folder)
        return OwnFolder(classes, None, {"train": root})
    train_root, train = _classes(folder / train_name)
    val_root, val = _classes(folder / val_name, known=train)
    others = sorted({*names.values()} - {train_name, val_name})
    files = [path.name for path in folder.iterdir() if path.is_file()]
    others += filter(None, [left_out_in_words(files)])
    also = f"; left out: {', '.join(others)}" if others else ""
    if UNLABELLED in val and UNLABELLED not in train:
        _logger.info(
            "%s: %s has no class folders and is left out; %s is split%s",
            folder, val_name, train_name, also,
        )  # fmt: skip
        return OwnFolder(train, None, {"train": train_root})
    _require_same_kind(folder, (train_name, train), (val_name, val))
    _logger.info("%s: trained on %s, validated on %s%s", folder, train_name, val_name, also)
    return OwnFolder(train, val, {"train": train_root, "val": val_root})


def _classes(folder: Path, known: Iterable[str] = ()) -> tuple[Path, Classes]:
    """(the folder that holds the class folders or images, images by class).

    A single folder is entered, unless it has one of the `known` names of classes.
    """
    found = {name: find_images(folder / name, EXTENSIONS) for name in class_names(folder)}
    classes = {name: list(map(Path, images)) for name, (images, _) in found.items() if images}
    files = sorted(path for path in folder.iterdir() if path.name not in found)
    loose = [path for path in files if is_image(path.name, EXTENSIONS)]
    is_class = not {*map(composed, classes)}.isdisjoint(map(composed, known))
    if len(classes) == 1 and not loose and not is_class:
        (name,) = classes
        return _classes(folder / name, known)
    others = [path.name for path in files if path not in loose]
    others += [name for _, left_out in found.values() for name in left_out]
    left_out = list(filter(None, [left_out_in_words(others)]))
    if len(classes) > 1 or is_class:
        if loose:
            left_out.append(f"{len(loose)} images outside of class folders")
        if empty := [name for name in found if name not in classes]:
            left_out.append(f"folders without images ({', '.join(empty[:5])})")
    else:
        classes = {UNLABELLED: [*loose, *(path for paths in classes.values() for path in paths)]}
    if not any(classes.values()):
        also = f"; it holds {left_out[0]}" if left_out else ""
        raise InputError(f"{folder} has no images ({', '.join(EXTENSIONS)}){also}.")
    if left_out:
        _logger.info("%s: left out %s", folder, ", ".join(left_out))
    return folder, classes


def _require_classes(folder: Path, names: dict[str, str]) -> None:
    """Raises `InputError` for splits of which none, or each, is to be trained on."""
    if len(names) > 1 and names.keys() <= {*_TRAIN, *_VAL}:
        raise InputError(
            f"{folder} holds the folders {', '.join(names.values())}, which are splits, not "
            "classes. It needs train and one of val, valid, validation, test; or give one of them."
        )


def _require_same_kind(folder: Path, train: tuple[str, Classes], val: tuple[str, Classes]) -> None:
    """Raises `InputError` for splits of which one has classes that the other lacks."""
    (train_name, of_train), (val_name, of_val) = train, val
    if UNLABELLED in of_train and UNLABELLED not in of_val:
        raise InputError(
            f"{folder}/{train_name} has no class folders, {folder}/{val_name} has. Give both a "
            "folder per class, or neither."
        )
    trained = {*map(composed, of_train)}
    if unknown := [name for name in of_val if composed(name) not in trained]:
        more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
        raise InputError(
            f"{folder}/{val_name} has classes that {train_name} lacks: "
            f"{', '.join(unknown[:10])}{more}. Rename or remove these folders."
        )
