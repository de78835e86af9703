"""Console output of the commands: results on standard output, all else on standard error.

Library code logs with `logging.getLogger(__name__)` and wraps long loops in `progress`; both are
silent unless a command has opened `console_output`.
"""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.text import Text

from solo_bayesncl.text import for_encoding, printable

Item = TypeVar("Item")


class PlainConsole(Console):
    """Shows text as it is, in tables, too: without markup, emoji codes or control characters.

    A full disk or a closed pipe does not stop a command, which has files to write, too.

    Attributes:
        error: why nothing more is printed, None while it is.
    """

    def __init__(self, **options: Any):
        super().__init__(markup=False, emoji=False, highlight=False, soft_wrap=True, **options)
        self.error: OSError | None = None

    def render_str(self, text: str, **options: Any) -> Text:
        text = for_encoding(printable(text, keep="\n\t"), self.encoding)
        return super().render_str(text, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        try:
            super().print(*objects, **options)
        except OSError as error:
            self._stop(error)

    def on_broken_pipe(self) -> None:
        self._stop(BrokenPipeError())

    def restart(self) -> None:
        """Prints again, for the next command of a process."""
        self.error, self.quiet = None, False

    def _stop(self, error: OSError) -> None:
        self.error, self.quiet = error, True
        with suppress(OSError):  # or Python would fail to flush the rest when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


results = PlainConsole()
_stderr = PlainConsole(stderr=True)
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
        _stderr.print(f"solo-bayesncl: {message}")


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
        description=escape(description),
        total=total,
        console=_stderr,
        transient=True,
        disable=_handler not in _logger.handlers or not _stderr.is_terminal,
    )
