"""Reads a table as spreadsheets write it: any usual separator and encoding, with missing cells."""

import codecs
import csv
import io
import logging
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from solo_bayesncl.errors import InputError
from solo_bayesncl.files import from_cell

_logger = logging.getLogger(__name__)

KEY = "path"
SEPARATORS = (",", ";", "\t")
# a cell without a value, as spreadsheets, R and pandas write it, in any case; and their errors
MISSING = {"", "na", "n/a", "#n/a", "<na>", "nan", "null", "-", "--", ".", "?"}
_ERROR = re.compile(r"#[A-Z0/]+[!?]")  # such as #DIV/0! and #NAME?
_THOUSANDS = re.compile(r"-?[1-9]\d{0,2}([.,])\d{3}(\1\d{3})*")
_BOTH = re.compile(r"-?\d[\d.,]*\.\d*,\d+|-?\d[\d.,]*,\d*\.\d+")  # 1.234,5 and 1,234.5
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",  # Excel's "Unicode text"
    codecs.BOM_UTF16_BE: "utf-16",
}

Cell = str | None


@dataclass(frozen=True)
class Table:
    """A table with a column `path`.

    Attributes:
        columns: name -> a cell per row, None where it has no value; without `path`.
        row_of: normalised path of an image -> number of its row.
    """

    columns: dict[str, list[Cell]]
    row_of: dict[str, int]


def read_table(path: Path) -> Table:
    """Reads a CSV file with a header.

    Commas, semicolons or tabs separate its cells: what makes a column `path` of the header. In a
    file that commas do not separate, a column of numbers may have decimal commas.

    Raises:
        InputError: if it is not such a table, or is ambiguous: columns of one name, rows of one
            image that differ, rows with more or fewer cells than the header.
    """
    try:
        text = re.sub(r"\A\s*sep=.\r?\n", "", _decoded(path))  # Excel's own first line
        separator = _separator(path, text)
        lines = list(csv.reader(io.StringIO(text, newline=None), delimiter=separator))
    except (OSError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as CSV: {error}.") from error
    header, *lines = [[cell.strip() for cell in line] for line in lines]
    names = [KEY if name.casefold() == KEY else from_cell(name) for name in header]
    _refuse_duplicates(path, names)
    rows = [
        _row(path, names, line, number) for number, line in enumerate(lines, start=2) if any(line)
    ]
    if not rows:
        raise InputError(f"{path}: needs rows below its header.")
    keys = [as_key(row.pop(KEY) or "") for row in rows]
    columns = {name: [row[name] for row in rows] for name in rows[0] if name}
    for name, column in columns.items():
        _refuse_thousands(path, name, [cell for cell in column if cell is not None])
    if separator != ",":
        columns = {name: _with_decimal_points(column) for name, column in columns.items()}
    return Table(columns, _row_numbers(path, keys, rows))


def as_key(path: str) -> str:
    """A path in one form, whatever the separator of folders and the form of accents."""
    posix = PurePosixPath(path.replace("\\", "/")).as_posix()
    return unicodedata.normalize("NFC", posix)


def _decoded(path: Path) -> str:
    content = path.read_bytes()
    marked = (name for mark, name in _BYTE_ORDER_MARKS.items() if content.startswith(mark))
    encoding = next(marked, "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8" or b"\0" in content:
            raise InputError(f"{path} cannot be read as CSV: {error}.") from error
    _logger.warning("%s is not UTF-8: it is read as Windows-1252 (Western European).", path)
    return content.decode("cp1252", errors="replace")


def _separator(path: Path, text: str) -> str:
    first = next(iter(text.splitlines()), "")
    for separator in SEPARATORS:
        cells = next(csv.reader([first], delimiter=separator), [])
        if KEY in (cell.strip().casefold() for cell in cells):
            return separator
    raise InputError(
        f"{path}: needs a header with a column `{KEY}`, separated by commas, semicolons or tabs. "
        f"Its first line is {first[:80]!r}."
    )


def _refuse_duplicates(path: Path, names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise InputError(f"{path} has two columns {twice[0]!r}: rename or remove one.")


def _row(path: Path, names: list[str], line: list[str], number: int) -> dict[str, Cell]:
    """Name -> cell; empty cells may follow the last one of the header."""
    cells, surplus = line[: len(names)], line[len(names) :]
    if any(surplus) or len(cells) < len(names):
        raise InputError(
            f"{path}, row {number} has {len(line)} cells, the header {len(names)}. Put text that "
            "holds the separator into double quotes."
        )
    values = (None if _is_missing(cell) else from_cell(cell) for cell in cells)
    return dict(zip(names, values, strict=True))


def _is_missing(cell: str) -> bool:
    return cell.casefold() in MISSING or cell == "None" or _ERROR.fullmatch(cell) is not None


def _row_numbers(path: Path, keys: list[str], rows: list[dict[str, Cell]]) -> dict[str, int]:
    row_of: dict[str, int] = {}
    for number, key in enumerate(keys):
        first = row_of.setdefault(key, number)
        if rows[first] != rows[number]:
            raise InputError(f"{path} has two rows for {key} that differ: remove one.")
    return row_of


def _refuse_thousands(path: Path, name: str, cells: list[str]) -> None:
    """Refuses numbers such as 1,234, which can be one thousand or one and a bit."""
    marked = [cell for cell in cells if "," in cell]
    mixed = next((cell for cell in cells if _BOTH.fullmatch(cell)), None)
    if mixed or (marked and all(_THOUSANDS.fullmatch(cell) for cell in marked)):
        raise InputError(
            f"{path}, column {name}: {mixed or marked[0]} has a separator of thousands, or looks "
            "like it. Write numbers without them, and with a decimal point."
        )


def _with_decimal_points(column: list[Cell]) -> list[Cell]:
    """The column with points in place of decimal commas, if that makes all its cells numbers."""
    with_points = [cell and cell.replace(",", ".") for cell in column]
    try:
        [float(cell) for cell in with_points if cell is not None]
    except ValueError:
        return column
    return with_points
