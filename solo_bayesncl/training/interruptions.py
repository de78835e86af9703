"""SIGINT and SIGTERM during training, alike in all versions of Lightning.

An epoch cannot be resumed bit for bit from within, so nothing is saved: the checkpoint of the last
epoch is there. Where SLURM requeues jobs, SIGTERM is left to Lightning.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from solo_bayesncl.adapters import adapter
from solo_bayesncl.signals import Terminated, kill_with_parent, terminate

_pl = adapter().pl


class _HandleSigterm(_pl.callbacks.Callback):
    """Replaces the handler of SIGTERM that Lightning 2 installs before these hooks.

    Some versions communicate in it, with processes that may have ended.
    """

    def on_sanity_check_start(self, trainer: Any, pl_module: Any) -> None:
        signal.signal(signal.SIGTERM, terminate)

    on_train_start = on_sanity_check_start


@contextmanager
def interruptible(trainer: Any) -> Iterator[None]:
    """While Lightning trains: SIGINT raises `KeyboardInterrupt`, SIGTERM `Terminated`.

    The latter only if the program has asked for it with `signals.sigterm_raises`. However training
    ends, the processes that this one has launched end with it.
    """
    handled = signal.getsignal(signal.SIGTERM) is terminate
    if handled and _pl.trainer.connectors.accelerator_connector.SLURMEnvironment.detect():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Lightning 1 replaces no other handler
    elif handled:
        trainer.callbacks.append(_HandleSigterm())
    if trainer.local_rank > 0:
        kill_with_parent()()
    try:
        yield
    except BaseException as raised:
        error = raised
        if type(raised).__name__ == "DeadlockDetectedException":  # of Lightning 1, for any error
            error = raised.__context__
        _end_processes(getattr(trainer.strategy.launcher, "procs", []))  # as of Lightning 2
        if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None  # Lightning 2.6 exits
        if type(error).__name__ == "SIGTERMException":  # of Lightning 2, whose status is 0
            raise Terminated from None
        raise error from error.__cause__
    finally:
        if handled:
            signal.signal(signal.SIGTERM, terminate)
    if trainer.interrupted:  # Lightning 1 and 2.1 return
        raise KeyboardInterrupt


def _end_processes(launched: list) -> None:
    """Kills processes, which may wait for this one in a collective; empties Lightning's list.

    Lightning observes the list, and would kill this process when one of them has ended.
    """
    processes = list(launched)
    launched.clear()
    for process in processes:
        process.kill()
