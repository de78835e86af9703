"""Make a demo data set as a folder of images, from what is installed: nothing is downloaded."""

import argparse
import shlex

from solo_bayesncl.console import results as console
from solo_bayesncl.data import make_digits, make_glyphs
from solo_bayesncl.files import expand_home

MAKERS = {"glyphs": make_glyphs, "digits": make_digits}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options. One that isn't given stays unset, so the functions' own defaults hold."""
    unset = argparse.SUPPRESS
    parser.add_argument(
        "dataset",
        choices=tuple(MAKERS),
        help="glyphs: 100 characters, validated on other fonts than trained on; "
        "digits: 10 handwritten digits",
    )
    parser.add_argument(
        "--out", type=expand_home, required=True, metavar="DIR", help="folder to make"
    )
    parser.add_argument(
        "--textures",
        action="store_true",
        default=unset,
        help="draw on 4 textures that all classes share instead of on black",
    )
    for option, metavar, meaning in (
        ("train_size", "N", "images to train on"),
        ("val_size", "N", "images to validate on"),
        ("size", "PX", "side of an image in pixels"),
        ("seed", "N", "same seed, same files"),
    ):
        defaults = ", ".join(f"{name} {m.__kwdefaults__[option]}" for name, m in MAKERS.items())
        parser.add_argument(
            f"--{option.replace('_', '-')}",
            type=int,
            default=unset,
            metavar=metavar,
            help=f"{meaning} (default: {defaults})",
        )


def run(args: argparse.Namespace) -> int:
    """Makes the data set, prints what it is and how to train on it; returns the exit status.

    Raises:
        InputError: an option is out of range, or the folder cannot be used.
    """
    make = MAKERS[args.dataset]
    options = {key: value for key, value in vars(args).items() if key in make.__kwdefaults__}
    made = make(args.out, **options)
    verb = "Reused" if made.reused else "Made"
    train, val = shlex.quote(f"{made.train_path}"), shlex.quote(f"{made.val_path}")
    console.print(
        f"{verb} {args.dataset}: {made.train_images} training and {made.val_images} validation "
        f"images of {len(made.classes)} classes in {made.path}. "
        f"Train on it with: data.train_path={train} data.val_path={val}"
    )
    return 0
