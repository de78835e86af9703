"""The one exception that reaches a person as a message instead of a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message says what was given, what is accepted and which key or argument to change. Commands
    print it and exit with status 2 (`solo_bayesncl.__main__`); library callers get a `ValueError`.
    """


def require_one_of(value: object, accepted, key: str, note: str = "") -> None:
    """Raises `InputError` unless `value` is one of `accepted`.

    Args:
        value: what was given.
        accepted: what may be given.
        key: the setting to change.
        note: a sentence to add.
    """
    if value not in accepted:
        choices = ", ".join(map(str, accepted))
        raise InputError(f"{key}={value!r} is not known. Choose one of: {choices}.{note}")


@contextmanager
def prefix_errors(what: str) -> Iterator[None]:
    """Puts `what` in front of the message of an `InputError`, e.g. the method that it is about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{what}: {error}") from error
