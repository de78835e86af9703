"""Folders made of links to other folders, or of copies where links are not possible.

What is in such a folder already is neither replaced nor removed.
"""

import logging
import os
import shutil
from pathlib import Path

from solo_bayesncl.errors import ArgumentError
from solo_bayesncl.image_files import find_images, is_leftover

_logger = logging.getLogger(__name__)

# path below the folder, at least two names long -> folder or image that it leads to
Links = dict[Path, Path]


def require_free(out: Path, links: Links, what: str) -> None:
    """Raises `ArgumentError` if the folders of `links` in `out` hold anything else.

    Args:
        out: the folder that is made.
        links: all that belongs in it.
        what: `links` in words.
    """
    belonging: dict[Path, set[str]] = {}
    for path in links:
        for child, folder in zip((path, *path.parents), path.parents[:-1], strict=False):
            belonging.setdefault(folder, set()).add(child.name)
    wrong = [
        out / path
        for path, source in links.items()
        if os.path.lexists(out / path) and not _is_part_of(out / path, source)
    ]
    for folder, names in belonging.items():
        if len(folder.parts) == 2 and (out / folder).is_symlink():
            wrong.append(out / folder)  # images of a flat folder do not go into someone's folder
        elif (out / folder).is_dir():
            entries = sorted((out / folder).iterdir())
            wrong += [e for e in entries if e.name not in names and not is_leftover(e.name)]
    if wrong:
        listed = ", ".join(str(path.relative_to(out)) for path in dict.fromkeys(wrong[:10]))
        more = f" and {len(wrong) - 10} others" if len(wrong) > 10 else ""
        raise ArgumentError(
            "out", out,
            f" holds what does not belong to {what}: {listed}{more}. Give another folder, or "
            "move that away.",
        )  # fmt: skip


def _is_part_of(path: Path, source: Path) -> bool:
    """Whether an existing path is a link to the source, or a copy of it or of a part of it."""
    if path.is_symlink():
        return os.path.realpath(path) == os.path.realpath(source)
    if path.is_dir() and source.is_dir():
        return all(
            _is_part_of(Path(image), source / Path(image).relative_to(path))
            for image in find_images(path)[0]
        )
    return path.is_file() and source.is_file() and path.stat().st_size == source.stat().st_size


def is_done(path: Path, source: Path) -> bool:
    """Whether a path that `require_free` accepts has all of the source."""
    if path.is_symlink() or not path.is_dir():
        return path.exists()
    images = find_images(source)[0]
    return all((path / Path(image).relative_to(source)).exists() for image in images)


def link_or_copy(source: Path, path: Path) -> bool:
    """Links to a folder or image, or copies its images; returns whether it is a link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():  # no unfinished copy
        try:
            path.symlink_to(source, target_is_directory=source.is_dir())
        except OSError as error:
            reason = error.strerror or error
            _logger.info("links cannot be made here (%s): images are copied.", reason,
                         extra={"once": True})  # fmt: skip
        else:
            return True
    for image in [source] if source.is_file() else map(Path, find_images(source)[0]):
        target = path / image.relative_to(source) if source.is_dir() else path
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.partial")  # hidden from loaders
            try:
                shutil.copyfile(image, partial)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
    return False
