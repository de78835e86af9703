"""Parses command lines: what argparse refuses is one message, with the nearest option."""

import argparse
import difflib
import re
from collections.abc import Sequence
from typing import NoReturn

from solo_bayesncl.errors import InputError

DEBUG = "--debug"  # of every command; the processes of DDP repeat the command line, with it


class ArgumentParser(argparse.ArgumentParser):
    """argparse's, except that a wrong command line raises `InputError`."""

    _typed: Sequence[str] = ()

    def parse_known_args(self, args=None, namespace=None):
        """As argparse's, through which all of its parsing goes."""
        self._typed = self._typed or list(args or ())
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        command = self.prog.partition(" ")[2]
        about = f"{command}: " if command else ""
        raise InputError(f"{about}{message}.{self._nearest(message)} See {self.prog} --help.")

    def _nearest(self, message: str) -> str:
        """What is meant by an unknown option or choice, as a sentence."""
        options = list(self._option_string_actions)
        typed = [each.partition("=")[0] for each in self._typed if each.startswith("--")]
        unknown = [each for each in typed if not any(o.startswith(each) for o in options)]
        if wrong := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            unknown, options = [wrong[1]], re.findall(r"[\w-]+", wrong[2])
        near = [m for each in unknown for m in difflib.get_close_matches(each, options, n=1)]
        return f" Did you mean {' '.join(near)}?" if near else ""
