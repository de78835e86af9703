"""The one exception that a user sees as a message instead of a traceback."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message says what was given, what is accepted and which key or argument to change. Commands
    print it and exit with status 2 (`solo_bayesncl.__main__`); library callers get a `ValueError`.
    """


class ArgumentError(InputError):
    """An argument of a function cannot be used; the message begins with `argument=value`.

    Commands call it by its flag, and `compare` by its key.
    """

    def __init__(self, argument: str, value: object, problem: str):
        """`problem` continues the sentence behind the value, or follows a colon."""
        super().__init__(f"{argument}={value}{problem}")
        self.as_flag = f"--{argument.replace('_', '-')} {value}{problem}"


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
        kind = InputError if isinstance(error, ArgumentError) else type(error)
        raise kind(f"{prefix}: {error}") from error


@contextmanager
def prefix_arguments(prefix: str) -> Iterator[None]:
    """Prefixes the argument that an `ArgumentError` names, such as with the key of a section."""
    try:
        yield
    except ArgumentError as error:
        raise InputError(f"{prefix}{error}") from error
