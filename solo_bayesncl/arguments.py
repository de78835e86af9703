"""Parses command lines: what argparse refuses is one message, with the nearest option."""

import argparse
import difflib
import re
from typing import NoReturn

from solo_bayesncl.errors import InputError


class ArgumentParser(argparse.ArgumentParser):
    """argparse's, except that a wrong command line raises `InputError`."""

    def error(self, message: str) -> NoReturn:
        command = self.prog.partition(" ")[2]
        about = f"{command}: " if command else ""
        raise InputError(f"{about}{message}.{self._nearest(message)} See {self.prog} --help.")

    def _nearest(self, message: str) -> str:
        """The option or the choice that is meant, as a sentence."""
        if unknown := re.match(r"unrecognized arguments: .*?(-[^\s=]+)", message):
            given, names = unknown[1], list(self._option_string_actions)
        elif wrong := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            given, names = wrong[1], re.findall(r"[\w-]+", wrong[2])
        else:
            return ""
        near = difflib.get_close_matches(given, names, n=1)
        return f" Did you mean {near[0]}?" if near else ""
