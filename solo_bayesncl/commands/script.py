"""solo-bayesncl SCRIPT.py ...: runs a script of solo-learn with the methods registered."""

import runpy
import sys
from pathlib import Path

import solo_bayesncl
from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes.search_path import script_of_solo_learn


def run(arguments: list[str]) -> int:
    """Runs a script like solo-learn's `main_knn.py` as if directly.

    Args:
        arguments: path of a Python file, and that script's own arguments.

    Raises:
        InputError: if there is no such file, or no solo-learn.
        SystemExit: if the script does.
    """
    script, path = arguments[0], Path(arguments[0])
    if not path.is_file():
        raise InputError(f"{script} is not a file. Give the path of a script of solo-learn.")
    solo_bayesncl.register()
    command_line, import_path = sys.argv, list(sys.path)
    sys.argv = arguments
    sys.path.insert(0, str(path.resolve().parent))
    try:
        with script_of_solo_learn():
            runpy.run_path(script, run_name="__main__")
    finally:
        sys.argv, sys.path[:] = command_line, import_path
    return 0
