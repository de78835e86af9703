"""The emoji of four vendors, in classes of 99 kinds: drawings in colour, with a vendor held out.

Read from the npm packages `emoji-datasource-VENDOR`, which hold a PNG file of 64 px for each emoji
and name its subcategory in Unicode's order of emoji (face-smiling, animal-bird, food-fruit, ...).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from solo_bayesncl import files
from solo_bayesncl.data.folder import Sample, Summary, write_folder
from solo_bayesncl.data.settings import Settings
from solo_bayesncl.errors import ArgumentError, InputError

VENDORS = ("apple", "facebook", "google", "twitter")
BACKGROUND = (128, 128, 128)  # grey, on which white and black drawings can both be seen
_SIDE = 64  # of the packages' images, in pixels
_KEYS = {"category", "subcategory", "name"}  # that are read of an emoji


@dataclass(frozen=True, kw_only=True)
class EmojiSettings(Settings):
    """Settings of the data set.

    Attributes:
        held_out: vendor of the validation split.
        versions: of the packages, by vendor.
    """

    held_out: str
    versions: dict[str, str]


@dataclass(frozen=True)
class _Package:
    """The emoji of one vendor.

    Attributes:
        version: of the package.
        entries: of `emoji.json`, those that the vendor has drawn.
        images: folder of their images.
    """

    version: str
    entries: list[dict]
    images: Path


def make_emoji(
    out: str | Path,
    *,
    packages: str | Path = "node_modules",
    held_out: str = "twitter",
    size: int = 32,
) -> Summary:
    """Writes the emoji as an image folder; layout in `solo_bayesncl.data.folder`.

    A class is a subcategory; variants of skin tone are left out. The other columns of
    `metadata.csv`: `vendor`, `category` and `name`. Nothing is random: the same packages give the
    same files.

    Args:
        out: folder to make; reused if it holds the same data set already.
        packages: folder that holds `emoji-datasource-apple`, `-facebook`, `-google` and `-twitter`.
        held_out: vendor to validate on. The other three are trained on.
        size: side of the images in pixels.

    Raises:
        InputError: an option is out of range, a package is missing or incomplete, or `out` cannot
            be used.
    """
    if held_out not in VENDORS:
        raise ArgumentError("held_out", held_out, f" is not one of {', '.join(VENDORS)}.")
    packages = files.expand_home(packages)
    _require_packages(packages)
    vendors = {vendor: _read(_folder(packages, vendor), vendor) for vendor in VENDORS}
    images = {vendor: len(package.entries) for vendor, package in vendors.items()}
    settings = EmojiSettings(
        dataset="emoji",
        train_size=sum(images.values()) - images[held_out],
        val_size=images[held_out],
        size=size,
        held_out=held_out,
        versions={vendor: package.version for vendor, package in vendors.items()},
    )
    return write_folder(out, settings, _samples(vendors, settings))


def class_name(subcategory: str) -> str:
    """Folder of a class, a safe file name everywhere: "sky & weather" is sky-weather."""
    return re.sub(r"\W+", "-", subcategory)


def _folder(packages: Path, vendor: str) -> Path:
    return packages / f"emoji-datasource-{vendor}"


def _require_packages(packages: Path) -> None:
    missing = [
        folder.name
        for folder in (_folder(packages, vendor) for vendor in VENDORS)
        if not (folder / "emoji.json").is_file()
    ]
    if missing:
        raise ArgumentError(
            "packages",
            packages,
            f" lacks {', '.join(missing)}. Run `npm install {' '.join(missing)}` and give the "
            "folder node_modules that it fills, or a folder with the unpacked packages.",
        )


def _read(folder: Path, vendor: str) -> _Package:
    images = folder / "img" / vendor / str(_SIDE)
    try:
        entries = json.loads((folder / "emoji.json").read_text(encoding="utf-8"))
        entries = [entry for entry in entries if entry[f"has_img_{vendor}"]]
        version = json.loads((folder / "package.json").read_text(encoding="utf-8"))["version"]
        complete = all(
            (images / entry["image"]).is_file() and {*entry} >= _KEYS for entry in entries
        )
    except (OSError, ValueError, KeyError, TypeError):
        complete = False
    if not complete:
        raise InputError(f"{folder} is incomplete. Install {folder.name} again with npm.")
    return _Package(version, entries, images)


def _samples(vendors: dict[str, _Package], settings: EmojiSettings) -> Iterator[Sample]:
    for vendor, package in vendors.items():
        split = "val" if vendor == settings.held_out else "train"
        for entry in package.entries:
            label = class_name(entry["subcategory"])
            path = package.images / entry["image"]
            image = _on_background(path, settings.size)
            factors = {"vendor": vendor, "category": entry["category"], "name": entry["name"]}
            yield Sample(split, label, f"{vendor}-{path.stem}", image, factors)


def _on_background(path: Path, size: int) -> Image.Image:
    try:
        with Image.open(path) as file:
            drawing = file.convert("RGBA")
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's, of damaged files
        raise InputError(f"{path} cannot be read ({error}). Install its package again.") from error
    image = Image.new("RGBA", drawing.size, BACKGROUND)
    image.alpha_composite(drawing)
    return image.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
