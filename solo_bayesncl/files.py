"""Writes files whole or not at all, and reads JSON."""

import csv
import io
import json
import math
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from solo_bayesncl.errors import InputError
from solo_bayesncl.text import valid_unicode

# spreadsheets take a cell that begins with one of these for a formula
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Checked = TypeVar("Checked")


def expand_home(path: str | Path) -> Path:
    """The path with the home folder in place of `~`, which shells leave where it is quoted."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - keeps `~name` of no user


def write_bytes(
    path: Path, content: bytes, check: Callable[[Path], Checked] = lambda written: None
) -> Checked:
    """Writes a temporary neighbour, then renames it: a reader never sees half of it.

    `check` is called with the neighbour, which has the same suffix; if it raises, nothing is left.
    Returns what `check` does. A symbolic link stays, and what it points to is written.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        # `tempfile` would make it readable by its owner only
        with temporary.open("xb") as file:
            file.write(content)
        checked = check(temporary)
        temporary.replace(path)
        return checked
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
