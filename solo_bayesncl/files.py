"""Writes files whole or not at all, and reads JSON."""

import csv
import errno
import io
import json
import math
import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from solo_bayesncl.errors import InputError
from solo_bayesncl.text import valid_unicode

# spreadsheets take a cell that begins with one of these for a formula
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Checked = TypeVar("Checked")

# which reading cannot give: full, over quota, too large, read-only
WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


class WriteError(InputError):
    """A file cannot be written: the disk is full, read-only, ..."""


@contextmanager
def writing(what: str | Path) -> Iterator[None]:
    """Turns what fails while writing into a `WriteError` that says what was being written."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"{what} cannot be written: {error.strerror or error}.") from error


def expand_home(path: str | Path) -> Path:
    """The path with the home folder in place of `~`, which shells leave where it is quoted."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - keeps `~name` of no user


def write_bytes(
    path: Path,
    content: bytes | memoryview,
    check: Callable[[Path], Checked] = lambda written: None,
    temporary: Path | None = None,
) -> Checked:
    """Writes a temporary neighbour, then renames it: a reader never sees half of it.

    Both are flushed to the disk, so that a power cut leaves the old file or the new one. A symbolic
    link stays, and what it points to is written.

    Args:
        path: the file; its folder is created.
        content: all of it.
        check: called with the neighbour, which has the same suffix; if it raises, nothing is left.
        temporary: the neighbour, by default hidden, with a random name.

    Returns:
        What `check` does.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary or path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        # `tempfile` would make it readable by its owner only
        with temporary.open("wb") as file:
            file.write(content)
            flush(file)
        checked = check(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)
    return checked


def flush(file: io.BufferedIOBase) -> None:
    """Writes what is buffered to the disk."""
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Writes names to the disk, where folders can be opened for that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_temporaries(folder: Path, name: str) -> None:
    """Removes what killed processes have left of `write_bytes(folder / name, ...)`."""
    pattern = re.compile(rf"\.[0-9a-f]{{8}}\.{re.escape(name)}")
    for path in folder.iterdir():
        if pattern.fullmatch(path.name):
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8."""
    write_bytes(path, valid_unicode(text).encode())


def write_json(path: Path, content: Any, indent: int | None = 2) -> None:
    """Writes `content` as JSON; nan and infinities, which JSON lacks, become null."""
    write_text(path, json.dumps(plain(content), indent=indent) + "\n")


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Writes rows under the columns of all of them, in order of appearance; None as empty.

    Text that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    columns = {key: None for row in rows for key in row}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_as_cell, columns))
    writer.writerows([_as_cell(row.get(key)) for key in columns] for row in rows)
    write_text(path, text.getvalue())


def _as_cell(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(_FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def from_cell(cell: str) -> str:
    """The text of a cell that `write_csv` wrote."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(_FORMULA) else cell


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object that a file holds, None if there is no such file.

    Raises:
        InputError: if the file cannot be read or holds anything else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged: it does not hold a JSON object.")
    return content


def plain(content: Any) -> Any:
    """`content` in JSON's own types, nan and infinities as None."""
    if isinstance(content, dict):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
