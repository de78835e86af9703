"""Which folders are classes and which files are images: one rule for every loader."""

import os
import unicodedata
from collections.abc import Collection, Iterator
from pathlib import Path

from solo_bayesncl.errors import InputError

# torchvision's `IMG_EXTENSIONS`; importing torchvision takes seconds
IMAGE_EXTENSIONS = (
    ".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp",
)  # fmt: skip

# what systems, archives and network storage leave beside names that begin with a dot
LEFTOVERS = frozenset({
    "__macosx", "@eadir", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "lost+found",
    "$recycle.bin", "system volume information", "#recycle", "#snapshot", "@recycle", "__pycache__",
})  # fmt: skip

_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test"})


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name is neither a class nor an image."""
    return name.startswith(".") or name.casefold() in LEFTOVERS


def is_image(name: str, extensions: tuple[str, ...] = IMAGE_EXTENSIONS) -> bool:
    """Whether a file of this name is taken for an image; what it holds does not matter."""
    return name.lower().endswith(extensions) and not is_leftover(name)


def is_folder(entry: os.DirEntry) -> bool:
    """Whether it is a folder, or a link to one; a link to itself, or to nothing, is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def class_names(folder: str | Path) -> list[str]:
    """Names of the class folders, sorted: the position of a name is its label."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if is_folder(e) and not is_leftover(e.name))


def require_class_folders(folder: str | Path, key: str) -> None:
    """Raises `InputError` unless a folder holds folders of classes; `key` is its setting."""
    names = class_names(folder)
    for path in sorted(Path(folder).iterdir()):
        if path.is_symlink() and not (is_leftover(path.name) or _leads_somewhere(path)):
            raise InputError(
                f"{key}={folder}: {path.name} is a link to {path.readlink()}, which is not there. "
                "Is its disk mounted? Correct or remove the link."
            )
    if not names:
        raise InputError(
            f"{key}={folder} has no class folders. It needs a folder of images per class; for "
            "images without labels set data.no_labels=True."
        )
    if _SPLITS.issuperset(map(str.casefold, names)):
        raise InputError(
            f"{key}={folder} holds the folders {', '.join(names)}, which are splits, not classes: "
            f"give {Path(folder) / names[0]} or another one of them."
        )


def _leads_somewhere(link: Path) -> bool:
    try:
        return link.exists()
    except OSError:  # it leads to itself
        return False


def require_flat(folder: str | Path, key: str) -> None:
    """Raises `InputError` if a folder of images without labels holds folders."""
    if names := class_names(folder):
        raise InputError(
            f"{key}={folder} has folders in it, such as {names[0]}; data.no_labels=True needs the "
            "images directly in it. For a folder of images per class set data.no_labels=False."
        )


def find_images(
    folder: str | Path, extensions: tuple[str, ...] = IMAGE_EXTENSIONS
) -> tuple[list[str], list[str]]:
    """The images of a folder, and what else is in it.

    Symbolic links are followed, but not back into a folder that holds them.

    Args:
        folder: of a class, or of images without labels; folders in it are looked into.
        extensions: of image files, in lower case.

    Returns:
        (paths of the images, in torchvision's order; names of what was left out).
    """
    images, left_out = [], []
    for _, files, others in sorted(_walk(str(folder), extensions)):
        images += files
        left_out += others
    return images, left_out


def _walk(
    folder: str, extensions: tuple[str, ...], parents: tuple[tuple[int, int], ...] = ()
) -> Iterator[tuple[str, list[str], list[str]]]:
    """(folder, sorted paths of its images, names left out) of a folder and those inside."""
    status = Path(folder).stat()
    place = (status.st_dev, status.st_ino)
    if place in parents:
        return
    with os.scandir(folder) as entries:  # which knows folders without a look at each file
        kinds = [(entry.path, entry.name, is_folder(entry)) for entry in entries]
    folders = [path for path, name, is_dir in kinds if is_dir and not is_leftover(name)]
    images = [path for path, name, is_dir in kinds if not is_dir and is_image(name, extensions)]
    taken = {*folders, *images}
    yield folder, sorted(images), [name for path, name, _ in kinds if path not in taken]
    for inner in folders:
        yield from _walk(inner, extensions, (*parents, place))


def composed(name: str) -> str:
    """The name with composed accents: macOS stores é as e and an accent, which looks the same."""
    return unicodedata.normalize("NFC", name)


def left_out_in_words(names: Collection[str]) -> str:
    """Number and examples, such as "2 hidden or system files (.DS_Store), 5 other files (.txt)"."""
    leftovers = [name for name in names if is_leftover(name)]
    endings = [Path(name).suffix or name for name in names if not is_leftover(name)]
    groups = {"hidden or system files": leftovers, "other files": endings}
    return ", ".join(
        f"{len(group)} {words} ({', '.join(list(dict.fromkeys(group))[:3])})"
        for words, group in groups.items()
        if group
    )
