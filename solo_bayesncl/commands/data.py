"""Make a data set as a folder of images: a demo set, or ImageNet-100 from a download of ImageNet.

Nothing is downloaded.
"""

import argparse
import inspect
import shlex
from collections.abc import Callable
from typing import Any

from solo_bayesncl.console import results as console
from solo_bayesncl.data import make_digits, make_emoji, make_glyphs, make_imagenet100
from solo_bayesncl.errors import InputError
from solo_bayesncl.files import expand_home

IMAGENET_100 = "imagenet-100"
MAKERS: dict[str, Callable] = {
    "glyphs": make_glyphs,
    "digits": make_digits,
    "emoji": make_emoji,
    IMAGENET_100: make_imagenet100,
}
# settings of the options; their makers have the defaults, and say which data sets take them
OPTIONS: dict[str, dict[str, Any]] = {
    "textures": {
        "action": "store_true",
        "help": "draw on 4 textures that all classes share instead of on black",
    },
    "train_size": {"type": int, "metavar": "N", "help": "images to train on"},
    "val_size": {"type": int, "metavar": "N", "help": "images to validate on"},
    "size": {"type": int, "metavar": "PX", "help": "side of an image in pixels"},
    "seed": {"type": int, "metavar": "N", "help": "same seed, same files"},
    "packages": {
        "type": expand_home,
        "metavar": "DIR",
        "help": "folder of the npm packages emoji-datasource-VENDOR",
    },
    "held_out": {
        "metavar": "VENDOR",
        "help": "vendor to validate on: apple, facebook, google or twitter",
    },
    "imagenet": {
        "type": expand_home,
        "metavar": "DIR",
        "help": "a download of ImageNet (ILSVRC 2012), which holds train and val",
    },
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options. One that isn't given stays unset, so the functions' own defaults hold."""
    parser.add_argument(
        "dataset",
        choices=tuple(MAKERS),
        help="glyphs: 100 characters, validated on other fonts than trained on; "
        "digits: 10 handwritten digits; "
        "emoji: 99 kinds of drawings, validated on another vendor than trained on; "
        "imagenet-100: 100 classes of ImageNet, as links to it",
    )
    parser.add_argument(
        "--out", type=expand_home, required=True, metavar="DIR", help="folder to make"
    )
    for option, settings in OPTIONS.items():
        of_sets = ", ".join(
            f"{name} {default}" if type(default := defaults[option]) in (int, str) else name
            for name in MAKERS
            if option in (defaults := _defaults(name))
        )
        settings = settings | {"help": f"{settings['help']} ({of_sets})"}
        parser.add_argument(_flag(option), default=argparse.SUPPRESS, **settings)


def run(args: argparse.Namespace) -> int:
    """Makes the data set, prints what it is and how to train on it; returns the exit status.

    Raises:
        InputError: an option is out of range or another data set's, or the folder cannot be used.
    """
    made = MAKERS[args.dataset](args.out, **_options(args))
    verb = "Reused" if made.reused else "Made"
    train, val = shlex.quote(f"{made.train_path}"), shlex.quote(f"{made.val_path}")
    console.print(
        f"{verb} {args.dataset}: {made.train_images} training and {made.val_images} validation "
        f"images of {len(made.classes)} classes in {made.path}. "
        f"Train on it with: data.train_path={train} data.val_path={val}"
    )
    return 0


def _options(args: argparse.Namespace) -> dict[str, Any]:
    options = {name: value for name, value in vars(args).items() if name in OPTIONS}
    for name in options:
        if name not in _defaults(args.dataset):
            raise InputError(f"{_flag(name)} is not an option of {args.dataset}. Leave it out.")
    if args.dataset == IMAGENET_100 and not options:
        raise InputError(
            f"{IMAGENET_100} needs --imagenet DIR, a download of ImageNet (ILSVRC 2012) from "
            "image-net.org or Kaggle, which holds train and val."
        )
    return options


def _defaults(dataset: str) -> dict[str, Any]:
    """The options of a data set; `inspect.Parameter.empty` is the default of one that is needed."""
    parameters = inspect.signature(MAKERS[dataset]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"
