"""Console output of the commands: results on standard output, all else on standard error.

Library code logs with `logging.getLogger(__name__)` and wraps long loops in `progress`; both are
silent unless a command has opened `console_output`.
"""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")

results = Console(soft_wrap=True, highlight=False)
_stderr = Console(stderr=True, soft_wrap=True, highlight=False)
_logger = logging.getLogger("solo_bayesncl")

# set by Lightning, torchrun or srun; 0 or absent on rank zero
_RANKS = ("LOCAL_RANK", "NODE_RANK", "RANK", "SLURM_PROCID")


def log(message: str, *, all_ranks: bool = False) -> None:
    """Prints one line on standard error.

    Args:
        message: the line.
        all_ranks: whether every process of a distributed run prints it, or rank zero alone: an
            error may be another rank's.
    """
    if all_ranks or all(os.environ.get(name, "0") == "0" for name in _RANKS):
        printable = message.encode(errors="backslashreplace").decode()  # names can be no UTF-8
        _stderr.print(f"solo-bayesncl: {printable}", markup=False)


class _ConsoleHandler(logging.Handler):
    """Prints a record. One with `extra={"once": True}` is printed once in a command."""

    def __init__(self):
        super().__init__()
        self.said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if not (getattr(record, "once", False) and message in self.said):
            log(message)
        self.said.add(message)


_handler = _ConsoleHandler()


@contextmanager
def console_output() -> Iterator[None]:
    """While open, what this package logs and its progress bars are shown on standard error.

    Opened once more inside a Hydra program, it enables loggers that Hydra has disabled.
    """
    _enable_loggers()
    if _handler in _logger.handlers:
        yield
        return
    _handler.said.clear()
    level, propagate = _logger.level, _logger.propagate
    _logger.addHandler(_handler)
    _logger.setLevel(logging.INFO)
    _logger.propagate = False
    try:
        yield
    finally:
        _enable_loggers()
        _logger.removeHandler(_handler)
        _logger.setLevel(level)
        _logger.propagate = propagate


def _enable_loggers() -> None:
    for name, logger in logging.root.manager.loggerDict.items():
        if name.partition(".")[0] == _logger.name and isinstance(logger, logging.Logger):
            logger.disabled = False


def progress(items: Iterable[Item], description: str, total: float | None = None) -> Iterable[Item]:
    """The items, with a progress bar where a command writes to a terminal.

    Args:
        items: what is iterated over.
        description: words before the bar.
        total: number of items, where `items` has no length.
    """
    return track(
        items,
        description=description,
        total=total,
        console=_stderr,
        transient=True,
        disable=_handler not in _logger.handlers or not _stderr.is_terminal,
    )
