"""Writes a data set as folders of PNG files, completely or not at all.

    OUT/train/<class>/<name>.png    only class folders in train and val: loaders count them
    OUT/val/<class>/<name>.png
    OUT/metadata.csv                a row for each image: path, split, class and other factors
    OUT/dataset.json                the settings, written last: present only in a complete set

Every loader that takes the name of a folder for a class reads it (torchvision's ImageFolder, DALI).
"""

import json
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from solo_bayesncl import files
from solo_bayesncl.console import progress
from solo_bayesncl.data.settings import Settings
from solo_bayesncl.errors import ArgumentError
from solo_bayesncl.image_files import class_names, find_images

MARK = "dataset.json"


@dataclass(frozen=True)
class Sample:
    """One image of a data set.

    Attributes:
        split: "train" or "val".
        label: class, which is also the name of the folder.
        name: file name without ending, unique in its class.
        image: the RGB image.
        factors: the other columns of `metadata.csv`; the same keys for every sample.
    """

    split: str
    label: str
    name: str
    image: Image.Image
    factors: dict[str, object]


@dataclass(frozen=True)
class Summary:
    """A complete data set on disk.

    Attributes:
        path: its folder, absolute.
        classes: names of the class folders, sorted: position = label in ImageFolder and DALI.
        train_images: number of images in `train_path`.
        val_images: number of images in `val_path`.
        reused: whether it existed already, so that nothing was written.
    """

    path: Path
    classes: tuple[str, ...]
    train_images: int
    val_images: int
    reused: bool

    @property
    def train_path(self) -> Path:
        """Folder of the training split, solo-learn's `data.train_path`."""
        return self.path / "train"

    @property
    def val_path(self) -> Path:
        """Folder of the validation split, solo-learn's `data.val_path`."""
        return self.path / "val"


def write_folder(out: str | Path, settings: Settings, samples: Iterable[Sample]) -> Summary:
    """Writes `samples` to the folder `out`, or reuses what is there.

    The files are written beside `out` under a hidden name that is renamed at the end, so an
    interrupted call leaves nothing at `out`. `samples` is not consumed when `out` is reused.

    Args:
        out: folder to make. It may exist if it is empty, or if it holds a complete data set made
            with equal settings, which is then reused. Symbolic links are followed.
        settings: what the samples are made from.
        samples: every image of the set.

    Raises:
        ArgumentError: `out` holds something else, or cannot be written.
    """
    try:
        out = files.expand_home(out).resolve()
        if out.is_dir() and any(out.iterdir()):
            _require_same(out, settings)
            return _summary(out, settings, reused=True)
        if out.exists() and not out.is_dir():
            raise ArgumentError("out", out, " is a file. Give a folder.")
        if out == Path.cwd():
            problem = " is the current folder, which would be replaced. Give a new one."
            raise ArgumentError("out", out, problem)
        partial = out.with_name(f".{out.name}.partial-{secrets.token_hex(4)}")
        try:
            partial.mkdir(parents=True)
            _write(partial, settings, samples)
            if out.is_dir() and any(out.iterdir()):  # made by another process meanwhile
                _require_same(out, settings)
                return _summary(out, settings, reused=True)
            if out.is_dir():
                out.rmdir()  # empty; Windows doesn't rename onto a folder
            partial.rename(out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        problem = f" cannot be used: {error.strerror or error}. Give another folder."
        raise ArgumentError("out", out, problem) from error
    return _summary(out, settings, reused=False)


def _write(folder: Path, settings: Settings, samples: Iterable[Sample]) -> None:
    rows = []
    total = settings.train_size + settings.val_size
    for sample in progress(samples, f"Making {settings.dataset}", total):
        path = Path(sample.split, sample.label, f"{sample.name}.png")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        sample.image.save(folder / path)
        named = {"path": path.as_posix(), "split": sample.split, "class": sample.label}
        rows.append(named | sample.factors)
    files.write_csv(folder / "metadata.csv", rows)
    files.write_json(folder / MARK, settings.as_dict())


def _require_same(out: Path, settings: Settings) -> None:
    """Raises `ArgumentError` unless `out` holds a complete data set made with `settings`."""
    advice = "Give another folder, or delete this one."
    try:
        existing = json.loads((out / MARK).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        existing = None
    if not isinstance(existing, dict):
        raise ArgumentError("out", out, f" is not empty, nor a complete data set. {advice}")
    changes = ", ".join(
        f"{key} {existing.get(key)} instead of {value}"
        for key, value in settings.as_dict().items()
        if existing.get(key) != value
    )
    if changes:
        problem = f" holds a data set with other settings ({changes}). {advice}"
        raise ArgumentError("out", out, problem)
    for split, expected in (("train", settings.train_size), ("val", settings.val_size)):
        count = len(find_images(out / split)[0])
        if count != expected:
            problem = f" is damaged: {split} has {count} of {expected} images. {advice}"
            raise ArgumentError("out", out, problem)


def _summary(out: Path, settings: Settings, reused: bool) -> Summary:
    return Summary(
        path=out,
        classes=tuple(class_names(out / "train")),
        train_images=settings.train_size,
        val_images=settings.val_size,
        reused=reused,
    )
