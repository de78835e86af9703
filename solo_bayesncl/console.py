"""What is said to the person: results on standard output, everything else on standard error."""

import os
from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")

results = Console(soft_wrap=True, highlight=False)
_messages = Console(stderr=True, soft_wrap=True, highlight=False)


# set by Lightning, torchrun or srun; 0 or absent in the first process of a run
_RANKS = ("LOCAL_RANK", "NODE_RANK", "RANK", "SLURM_PROCID")


def say(message: str, *, everywhere: bool = False) -> None:
    """One line about what happens.

    Args:
        message: the line.
        everywhere: whether every process of a distributed run says it, or only the first: an error
            may be that of another one.
    """
    if everywhere or all(os.environ.get(name, "0") == "0" for name in _RANKS):
        _messages.print(f"solo-bayesncl: {message}", markup=False)


def progress(items: Iterable[Item], description: str, total: float | None = None) -> Iterable[Item]:
    """The items, with a bar on standard error that goes when they are done; none in a file.

    Args:
        items: what is gone through.
        description: words before the bar.
        total: how many there are, where `items` cannot tell.
    """
    return track(
        items,
        description=description,
        total=total,
        console=_messages,
        transient=True,
        disable=not _messages.is_terminal,
    )
