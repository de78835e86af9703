"""Text of users, such as names of classes and files, as terminals, pages and files can show it."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_SURROGATES = re.compile("[\ud800-\udfff]")
# control characters, line separators, and marks that turn the direction of what follows
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# signs of tables, as an ASCII terminal can show them
_IN_ASCII = str.maketrans({"±": "+/-", "−": "-", "–": "-", "…": "...", "↑": "^", "↓": "v"})


def valid_unicode(text: str) -> str:
    r"""The text with `\xe9` for a byte that is not UTF-8.

    Python holds such bytes of a file's name as lone surrogates, which no encoder accepts.
    """
    return _SURROGATES.sub(lambda match: _escaped(ord(match[0])), text)


def _escaped(code: int) -> str:
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def printable(text: str, keep: str = "") -> str:
    r"""The text on one line, with escapes such as `\x1b` and `\n` for what is not printable.

    Args:
        text: anything.
        keep: control characters that stay.
    """
    text = valid_unicode(text)
    return _CONTROLS.sub(lambda match: match[0] if match[0] in keep else _escape(match[0]), text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def for_display(content: Any, as_text: Callable[[str], str] = valid_unicode) -> Any:
    """JSON content with every text and key as `valid_unicode`, or another function, returns it."""
    if isinstance(content, dict):
        return {as_text(key): for_display(value, as_text) for key, value in content.items()}
    if isinstance(content, list):
        return [for_display(value, as_text) for value in content]
    return as_text(content) if isinstance(content, str) else content


@contextmanager
def any_encoding() -> Iterator[None]:
    """While open, standard output takes characters that its encoding lacks, as escapes."""
    stream = sys.stdout
    if not hasattr(stream, "reconfigure"):
        yield
        return
    errors = stream.errors
    stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        stream.reconfigure(errors=errors)


def for_encoding(text: str, encoding: str) -> str:
    """The text with substitutes for signs of tables that an encoding lacks."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_IN_ASCII)
    return text
