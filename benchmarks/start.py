"""Seconds until a command answers.

Each number is the median of several new processes, in wall time, which take turns. All packages are
in the page cache and compiled to bytecode by a first round that does not count. What other packages
need to be imported is measured beside it: no command that uses them can start sooner.

    python benchmarks/start.py [--tiny]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from ratios import Row, alternate, quartiles, write_rows

from solo_bayesncl.__main__ import COMMANDS
from solo_bayesncl.adapters import adapter

HELP_GOAL, DOCTOR_GOAL = 0.3, 2.0
RECIPE = ("--config-path", "scripts/pretrain/custom", "--config-name")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "solo_bayesncl", *arguments]


def imports(code: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-c", code]


# what is measured -> (command line, its goal in seconds)
HELP = {f"`{name} --help`": (command(name, "--help"), HELP_GOAL) for name in COMMANDS}
WRONG = {
    "a command that does not exist": (command("evalute"), HELP_GOAL),
    "an option that does not exist": (command("evaluate", "--nope"), HELP_GOAL),
    "`evaluate` of a run that does not exist": (command("evaluate", "/nope"), HELP_GOAL),
    "`pretrain` with a recipe that does not exist": (command("pretrain", *RECIPE, "nope"), None),
    "`pretrain` with a wrong value": (command("pretrain", *RECIPE, "ncl", "max_epochs=x"), None),
}
DOCTOR = {
    "`doctor`": (command("doctor"), DOCTOR_GOAL),
    "`doctor --import`": (command("doctor", "--import"), None),
}
PARTS = {
    "Python": (imports("pass"), None),
    "`import solo_bayesncl`": (imports("import solo_bayesncl"), HELP_GOAL),
    "`import hydra`": (imports("import hydra.main"), None),
    "`import torch`": (imports("import torch"), None),
    "`import torchvision`, with torch": (imports("import torchvision"), None),
    "`import solo.methods`, with both": (imports("import solo.methods"), None),
    "`import solo_bayesncl.sharing`": (imports("import solo_bayesncl.sharing"), None),
    "all that `pretrain` imports": (imports("import solo_bayesncl.training.pretraining"), None),
    "all that `evaluate` imports": (
        imports(
            "from solo_bayesncl.adapters import adapter; adapter()\n"
            "import solo_bayesncl.evaluation.record, solo_bayesncl.report.tables"
        ),
        None,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="processes of each (default: 5)")
    parser.add_argument("--tiny", action="store_true", help="one process of the fast ones alone")
    args = parser.parse_args()
    measured = HELP | WRONG | DOCTOR | PARTS
    rounds = args.rounds
    if args.tiny:
        measured, rounds = {name: measured[name] for name in ("`evaluate --help`", "`doctor`")}, 1
    with tempfile.TemporaryDirectory() as empty:  # so that a name is found in the package alone
        times = alternate(
            {name: _run(line, Path(empty)) for name, (line, _) in measured.items()},
            rounds=rounds,
            warmup=1,
        )
    rows = [
        Row(
            what,
            statistics.median(seconds),
            quartiles(seconds) if len(seconds) > 1 else None,
            goal=measured[what][1],
            unit="s",
        )
        for what, seconds in times.items()
    ]
    write_rows("start", rows, release=adapter().NAME)


def _run(command_line: list[str], folder: Path):
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": root}

    def run() -> None:
        subprocess.run(
            command_line, cwd=folder, env=environment, capture_output=True, check=False, timeout=300
        )

    return run


if __name__ == "__main__":
    main()
