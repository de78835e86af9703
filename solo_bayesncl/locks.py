"""Folders that one process at a time works in."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from solo_bayesncl.errors import InputError

_logger = logging.getLogger(__name__)

NAME = ".solo-bayesncl.lock"


@contextmanager
def locked(folder: Path, timeout: float = 0, name: str = NAME) -> Iterator[None]:
    """Holds a folder's lock, which ends with the process; only a killed one leaves the file.

    Args:
        folder: exists.
        timeout: seconds to wait for another process, -1 for as long as it takes.
        name: of the lock's file; locks of different names exclude nobody.

    Raises:
        InputError: if another process holds the lock.
    """
    file = folder / name
    lock = FileLock(file)
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        raise InputError(
            f"another process is working on it ({folder}{_holder(file)}). Wait for it or end it."
        ) from None
    except (OSError, NotImplementedError) as error:
        _logger.warning("%s cannot be locked (%s): do not start a run twice.", folder, error)
        yield
        return
    try:
        with suppress(OSError):
            file.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
        yield
    finally:
        with suppress(OSError):
            file.unlink()  # others that wait for it start anew
        lock.release()


def is_locked(folder: Path) -> bool:
    """Whether a process holds the folder's lock; leaves a folder without one as it is."""
    if not (folder / NAME).exists():
        return False
    try:
        FileLock(folder / NAME).acquire(timeout=0).lock.release()
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return False
    return False


def _holder(file: Path) -> str:
    try:
        return f": {file.read_text(encoding='utf-8').strip()}"
    except (OSError, ValueError):
        return ""
