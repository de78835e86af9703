"""The one place that writes files: whole or not at all."""

import csv
import io
import json
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def write_bytes(
    path: Path, content: bytes, check: Callable[[Path], None] = lambda written: None
) -> None:
    """Writes a temporary neighbour, then renames it: a reader never sees half of it.

    Args:
        path: the file.
        content: of the file.
        check: is given the neighbour, which has the same suffix; if it raises, nothing is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        # not of `tempfile`, whose files nobody else may read
        with temporary.open("xb") as file:
            file.write(content)
        check(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any, indent: int | None = 2) -> None:
    """Writes `content` as JSON; numbers that JSON has no word for (nan, inf) become null."""
    write_text(path, json.dumps(plain(content), indent=indent) + "\n")


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Writes rows under the columns of all of them, in order of appearance; None as empty."""
    columns = {key: None for row in rows for key in row}
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def plain(content: Any) -> Any:
    """`content` in JSON's own types, nan and infinities as None."""
    if isinstance(content, dict):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    if isinstance(content, float) and content - content != 0:
        return None
    return content
