"""Data, three pretrained methods and one table, on a laptop in about ten minutes."""

import argparse
import json
from pathlib import Path
from typing import Any

from solo_bayesncl import hosts
from solo_bayesncl.commands import evaluate
from solo_bayesncl.commands.recipes import compose_recipe
from solo_bayesncl.console import results as console
from solo_bayesncl.console import say
from solo_bayesncl.data import make_digits
from solo_bayesncl.errors import InputError

METHODS = ("simclr", "ncl", "bayesncl")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path("demo"), metavar="DIR", help="default: demo"
    )
    parser.add_argument("--seed", type=int, default=5, metavar="N", help="default: 5")
    parser.add_argument("--epochs", type=int, metavar="N", help="default: the recipe's")


def run(args: argparse.Namespace) -> int:
    """The command. What is finished is not done again."""
    for option in ("seed", "epochs"):
        value = getattr(args, option)
        if value is not None and value < (1 if option == "epochs" else 0):
            raise InputError(f"--{option} {value}: the number is too small.")
    if hosts.find() is None:
        raise InputError(hosts.MISSING)
    data = make_digits(args.out / "digits", size=24)
    table = {method: _train_and_evaluate(method, data, args) for method in METHODS}
    console.print(evaluate.comparison_table(table))
    console.print(
        f"Runs with checkpoints, curves (metrics.csv) and evaluation.json: {args.out / 'runs'}"
    )
    return 0


def _train_and_evaluate(method: str, data, args: argparse.Namespace) -> dict[str, Any]:
    from solo_bayesncl.commands.pretrain import pretrain

    say(f"pretraining {method}")
    overrides = [
        f"data.train_path={data.train_path}",
        f"data.val_path={data.val_path}",
        f"checkpoint.dir={args.out / 'runs'}",
        f"seed={args.seed}",
    ]
    if args.epochs is not None:
        overrides.append(f"max_epochs={args.epochs}")
    folder = pretrain(compose_recipe("scripts/pretrain/demo", method, overrides))
    written = folder / "evaluation.json"
    if written.exists():
        return json.loads(written.read_text())
    return evaluate.evaluate(folder)
