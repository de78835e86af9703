"""What is said to the person: results on standard output, everything else on standard error."""

import os

from rich.console import Console

results = Console(soft_wrap=True, highlight=False)
_messages = Console(stderr=True, soft_wrap=True, highlight=False)


def say(message: str) -> None:
    """One line about what happens; only the first process of a distributed run speaks."""
    if os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0":
        _messages.print(f"solo-bayesncl: {message}", markup=False)
