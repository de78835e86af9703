"""How signals end a process, and its children with it."""

import ctypes
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(SystemExit):
    """The process has received SIGTERM. As an exception, it lets cleanup run."""

    STATUS = 128 + signal.SIGTERM

    def __init__(self):
        super().__init__(self.STATUS)


def terminate(signum: int, frame: FrameType | None) -> None:
    """Handler of SIGTERM that raises `Terminated`."""
    raise Terminated


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """While open, SIGTERM raises `Terminated` in the main thread, unless it is handled already."""
    default = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not default or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def kill_with_parent() -> Callable[[], None]:
    """Returns what a child process calls to be killed when its parent ends; Linux alone has it."""
    if sys.platform != "linux":
        return lambda: None
    prctl, set_parent_death_signal = ctypes.CDLL(None).prctl, 1
    return lambda: prctl(set_parent_death_signal, signal.SIGKILL)
