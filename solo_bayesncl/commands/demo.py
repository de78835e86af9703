"""A comparison of three methods over seeds and its page, on a laptop in ten minutes.

On characters that it draws, or on someone's own images.
"""

import argparse
from pathlib import Path

from solo_bayesncl import adapters
from solo_bayesncl.errors import ArgumentError, InputError
from solo_bayesncl.files import expand_home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--images", type=expand_home, metavar="DIR",
        help="your own images instead: a folder per class, or train and val with such folders, or "
        "images without labels",
    )  # fmt: skip
    parser.add_argument(
        "--max-images", type=int, metavar="N",
        help="of --images, use about N at most, chosen at random (default: 5000)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=expand_home, metavar="DIR", help="default: demo, or demo-DIR for --images DIR"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", metavar="N",
        help="default: 0 to 4, or 0 to 2 for --images DIR",
    )  # fmt: skip
    parser.add_argument(
        "--epochs", type=int, metavar="N",
        help="default: the recipe's, or as many as ten minutes suffice for",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Runs the command. Finished runs are not repeated."""
    if args.epochs is not None and args.epochs < 1:
        raise InputError(f"--epochs {args.epochs}: give an integer of at least 1.")
    if args.seeds is not None and (min(args.seeds) < 0 or len(set(args.seeds)) < len(args.seeds)):
        raise InputError(f"--seeds {args.seeds}: give different integers of at least 0.")
    if args.images is None and args.max_images is not None:
        raise InputError(f"--max-images {args.max_images}: it is for --images DIR. Leave it out.")
    if adapters.find() is None:
        raise InputError(adapters.MISSING)
    return _on_characters(args) if args.images is None else _on_own_images(args)


def _on_characters(args: argparse.Namespace) -> int:
    out = args.out or Path("demo")
    # slow to import: --help and wrong arguments do not wait
    from solo_bayesncl.commands import compare
    from solo_bayesncl.comparison.plan import Plan
    from solo_bayesncl.data import make_glyphs
    from solo_bayesncl.recipes.compose import compose_recipe

    data = make_glyphs(out / "characters", size=16, val_size=3000)
    cfg = compose_recipe(compare.FOLDER, "demo", [])
    cfg.out = str(out / "comparison")
    cfg.overrides += [f"data.train_path={data.train_path}", f"data.val_path={data.val_path}"]
    if args.seeds is not None:
        cfg.seeds = args.seeds
    if args.epochs is not None:
        cfg.overrides += [f"max_epochs={args.epochs}"]
    compare.compare(Plan.of(cfg))
    return 0


def _on_own_images(args: argparse.Namespace) -> int:
    out = args.out or Path(f"demo-{args.images.resolve().name or 'images'}")
    # slow to import, as above
    from solo_bayesncl.data.own_images import DATA, MAX_IMAGES, make_own_images

    if (out / "comparison").exists() and not (out / DATA).exists():
        problem = " holds a comparison of other images. Give another folder, or delete this one."
        raise ArgumentError("out", out, problem)
    data = make_own_images(
        out, images=args.images, most=MAX_IMAGES if args.max_images is None else args.max_images
    )
    # slower: not before the images are known to be usable
    from solo_bayesncl.commands import compare
    from solo_bayesncl.comparison.own_images import own_images_comparison
    from solo_bayesncl.comparison.plan import Plan

    cfg = own_images_comparison(data, out, compare.FOLDER, args.seeds, args.epochs)
    compare.compare(Plan.of(cfg))
    return 0
