"""The one exception that a user sees as a message instead of a traceback."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message says what was given, what is accepted and which key or argument to change. Commands
    print it and exit with status 2 (`solo_bayesncl.__main__`); library callers get a `ValueError`.
    """


def require_one_of(value: object, accepted: Collection, key: str, note: str = "") -> None:
    """Raises `InputError`, naming the setting `key`, unless `value` is one of `accepted`."""
    if value not in accepted:
        choices = ", ".join(map(str, accepted))
        raise InputError(f"{key}={value!r} is not known. Choose one of: {choices}.{note}")


@contextmanager
def prefix_errors(prefix: str) -> Iterator[None]:
    """Prefixes the message of an `InputError` with what it is about."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"{prefix}: {error}") from error
