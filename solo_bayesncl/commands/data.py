"""Make a demo data set as a folder of images, from what is installed: nothing is downloaded."""

import argparse
import shlex

from solo_bayesncl.console import results as console
from solo_bayesncl.data import make_digits, make_emoji, make_glyphs
from solo_bayesncl.errors import InputError
from solo_bayesncl.files import expand_home

MAKERS = {"glyphs": make_glyphs, "digits": make_digits, "emoji": make_emoji}
# name -> (type, placeholder, meaning) of the options; which data set takes which, its maker says
OPTIONS = {
    "train_size": (int, "N", "images to train on"),
    "val_size": (int, "N", "images to validate on"),
    "size": (int, "PX", "side of an image in pixels"),
    "seed": (int, "N", "same seed, same files"),
    "packages": (expand_home, "DIR", "folder of the npm packages emoji-datasource-VENDOR"),
    "held_out": (str, "VENDOR", "vendor to validate on: apple, facebook, google or twitter"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options. One that isn't given stays unset, so the functions' own defaults hold."""
    unset = argparse.SUPPRESS
    parser.add_argument(
        "dataset",
        choices=tuple(MAKERS),
        help="glyphs: 100 characters, validated on other fonts than trained on; "
        "digits: 10 handwritten digits; "
        "emoji: 99 kinds of drawings, validated on another vendor than trained on",
    )
    parser.add_argument(
        "--out", type=expand_home, required=True, metavar="DIR", help="folder to make"
    )
    parser.add_argument(
        "--textures",
        action="store_true",
        default=unset,
        help="draw on 4 textures that all classes share instead of on black (glyphs, digits)",
    )
    for option, (kind, metavar, meaning) in OPTIONS.items():
        defaults = ", ".join(
            f"{name} {make.__kwdefaults__[option]}"
            for name, make in MAKERS.items()
            if option in make.__kwdefaults__
        )
        parser.add_argument(
            _flag(option),
            type=kind,
            default=unset,
            metavar=metavar,
            help=f"{meaning} (default: {defaults})",
        )


def run(args: argparse.Namespace) -> int:
    """Makes the data set, prints what it is and how to train on it; returns the exit status.

    Raises:
        InputError: an option is out of range or another data set's, or the folder cannot be used.
    """
    make = MAKERS[args.dataset]
    options = {name: value for name, value in vars(args).items() if name in ("textures", *OPTIONS)}
    if others := [_flag(name) for name in options if name not in make.__kwdefaults__]:
        accepted = ", ".join(map(_flag, make.__kwdefaults__))
        raise InputError(f"{', '.join(others)}: {args.dataset} has the options {accepted} only.")
    made = make(args.out, **options)
    verb = "Reused" if made.reused else "Made"
    train, val = shlex.quote(f"{made.train_path}"), shlex.quote(f"{made.val_path}")
    console.print(
        f"{verb} {args.dataset}: {made.train_images} training and {made.val_images} validation "
        f"images of {len(made.classes)} classes in {made.path}. "
        f"Train on it with: data.train_path={train} data.val_path={val}"
    )
    return 0


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"
