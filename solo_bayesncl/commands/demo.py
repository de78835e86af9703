"""Data, a comparison of three methods over five seeds and its page, on a laptop in ten minutes."""

import argparse
from pathlib import Path

from solo_bayesncl import adapters
from solo_bayesncl.errors import InputError
from solo_bayesncl.files import expand_home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=expand_home, default=Path("demo"), metavar="DIR", help="default: demo"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", metavar="N", help="default: those of the recipe, 0 to 4"
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="default: the recipe's")


def run(args: argparse.Namespace) -> int:
    """Runs the command. Finished runs are not repeated."""
    if args.epochs is not None and args.epochs < 1:
        raise InputError(f"--epochs {args.epochs}: give an integer of at least 1.")
    if args.seeds is not None and (min(args.seeds) < 0 or len(set(args.seeds)) < len(args.seeds)):
        raise InputError(f"--seeds {args.seeds}: give different integers of at least 0.")
    if adapters.find() is None:
        raise InputError(adapters.MISSING)

    # slow to import: --help and wrong arguments do not wait
    from solo_bayesncl.commands import compare
    from solo_bayesncl.comparison.plan import Plan
    from solo_bayesncl.data import make_glyphs
    from solo_bayesncl.recipes.compose import compose_recipe

    data = make_glyphs(args.out / "characters", size=16, val_size=3000)
    cfg = compose_recipe(compare.FOLDER, "demo", [])
    cfg.out = str(args.out / "comparison")
    cfg.overrides += [f"data.train_path={data.train_path}", f"data.val_path={data.val_path}"]
    if args.seeds is not None:
        cfg.seeds = args.seeds
    if args.epochs is not None:
        cfg.overrides += [f"max_epochs={args.epochs}"]
    compare.compare(Plan.of(cfg))
    return 0
