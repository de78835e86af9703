"""Is a checkpoint's file whole? torch, whose import takes seconds, is not needed to tell."""

import zipfile
from functools import lru_cache
from pathlib import Path

from solo_bayesncl.errors import InputError


def require_whole(path: Path) -> None:
    """Raises `InputError` if a file is incomplete or has a wrong checksum, which torch ignores.

    A file is read once, as long as it does not change.
    """
    try:
        state = path.stat()
        damage = _damage(path, state.st_size, state.st_mtime_ns)
    except OSError as error:
        damage = f"{error.strerror}."
    if damage is not None:
        raise InputError(f"{path} cannot be read as a checkpoint: {damage}")


@lru_cache(maxsize=64)
def _damage(path: Path, size: int, changed: int) -> str | None:
    with path.open("rb") as file:
        start = file.read(4)
    if start[:1] == b"\x80":  # torch's format before 1.6, which has no checksums
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            wrong = archive.testzip()
    except Exception:  # a damaged file can make zipfile raise nearly anything
        return "it is damaged or incomplete."
    return None if wrong is None else f"it is damaged: {wrong} in it has another checksum."
