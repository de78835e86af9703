"""Where commands write: checked before the work, nothing of the user's replaced, sets kept whole.

A file that exists is replaced if an earlier command of this program wrote it. Other files are
refused before anything is computed.
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from solo_bayesncl.errors import ArgumentError
from solo_bayesncl.locks import locked

# in the head of each page that this program writes
_PAGE_MARKS = (
    b'<meta name="generator" content="solo-bayesncl">',
    b'<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n<title>',
)
# about what the smallest result takes
LEAST_BYTES = 2**16


def check_outputs(
    argument: str, given: Path, paths: Iterable[Path], is_ours: Callable[[Path], bool]
) -> None:
    """Checks that files can be written, and that no file of the user's is in their place.

    Args:
        argument, given: what decides where the files are, and its value, for messages.
        paths: the files.
        is_ours: whether this program wrote an existing file.

    Raises:
        ArgumentError: if they cannot be written, or would replace something else.
    """
    folders = set()
    try:
        for path in paths:
            problem = _in_the_way(path, is_ours)
            if problem is not None:
                raise ArgumentError(argument, given, f": {path} {problem}")
            folders.add(Path(os.path.realpath(path)).parent)
    except OSError as error:  # a folder on the way may not be read
        raise cannot_be_written(argument, given, error) from error
    for folder in folders:
        check_folder(argument, given, folder)


def _in_the_way(path: Path, is_ours: Callable[[Path], bool]) -> str | None:
    """What keeps an existing file from being replaced; an empty one has nothing to lose."""
    if not path.exists():
        return None
    if path.is_dir():
        return "is a folder. Give another place."
    if not path.is_file():
        return "is not a regular file. Give another place."
    if path.stat().st_size == 0 or is_ours(path):
        return None
    return (
        "exists and is not an earlier result, so it is not replaced. Give another place, or move "
        "that file."
    )


def check_folder(argument: str, given: Path, folder: Path) -> None:
    """Raises `ArgumentError` unless files can be made in a folder, or where it is to be made."""
    try:
        while not folder.exists():
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(LEAST_BYTES))
    except OSError as error:
        raise cannot_be_written(argument, given, error) from error


def cannot_be_written(argument: str, given: Path, error: OSError) -> ArgumentError:
    """What to raise where writing has failed."""
    return ArgumentError(argument, given, f" cannot be written: {error.strerror or error}.")


@contextmanager
def write_together(folder: Path, record: str) -> Iterator[Path]:
    """A folder to write to, whose files move to `folder` when all of them are written.

    Of processes that write the same files at once, the set of one is left.

    Args:
        folder: made if it does not exist.
        record: name of the file that tells whose the others are; it is the first to move.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=folder) as temporary:
        yield Path(temporary)
        written = [path for path in Path(temporary).rglob("*") if path.is_file()]
        with locked(folder, timeout=-1, name=f".solo-bayesncl.{record}.lock"):
            for path in sorted(written, key=lambda path: path.name != record):
                target = Path(os.path.realpath(folder / path.relative_to(temporary)))
                target.parent.mkdir(exist_ok=True)
                path.replace(target)


def is_page(path: Path) -> bool:
    """Whether a file is a page of this program; those of version 0.1.0 lack the mark."""
    content = path.read_bytes()
    return any(mark in content for mark in _PAGE_MARKS)


def is_record(path: Path, keys: Iterable[str], if_damaged: bool = True) -> bool:
    """Whether a file is a JSON record with these keys; `if_damaged` where it is not JSON."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return if_damaged
    return isinstance(content, dict) and content.keys() >= set(keys)
