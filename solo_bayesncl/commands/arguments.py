"""What the parsers of several commands share."""

import argparse
from typing import NoReturn

from solo_bayesncl.files import expand_home
from solo_bayesncl.text import printable

# the type of arguments that are paths
path = expand_home


class ArgumentParser(argparse.ArgumentParser):
    """Repeats in its messages what was typed, without control characters."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        super().exit(status, message and printable(message, keep="\n"))
