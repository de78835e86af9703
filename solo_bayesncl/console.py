"""What is said to the person: results on standard output, everything else on standard error."""

import os
from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")

results = Console(soft_wrap=True, highlight=False)
_messages = Console(stderr=True, soft_wrap=True, highlight=False)


def say(message: str) -> None:
    """One line about what happens; only the first process of a distributed run speaks."""
    if os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0":
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
