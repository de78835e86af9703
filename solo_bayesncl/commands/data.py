"""Make a data set as a folder of images: a demo set, or ImageNet-100 from a download of ImageNet.

Nothing is downloaded.
"""

import argparse
import shlex

from solo_bayesncl.console import results as console
from solo_bayesncl.data import make_digits, make_glyphs, make_imagenet100
from solo_bayesncl.errors import InputError
from solo_bayesncl.files import expand_home

IMAGENET_100 = "imagenet-100"
GENERATED = {"glyphs": make_glyphs, "digits": make_digits}
MAKERS = {**GENERATED, IMAGENET_100: make_imagenet100}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options. One that isn't given stays unset, so the functions' own defaults hold."""
    unset = argparse.SUPPRESS
    parser.add_argument(
        "dataset",
        choices=tuple(MAKERS),
        help="glyphs: 100 characters, validated on other fonts than trained on; "
        "digits: 10 handwritten digits; imagenet-100: 100 classes of ImageNet, as links to it",
    )
    parser.add_argument(
        "--out", type=expand_home, required=True, metavar="DIR", help="folder to make"
    )
    parser.add_argument(
        "--imagenet",
        type=expand_home,
        default=unset,
        metavar="DIR",
        help="imagenet-100: a download of ImageNet (ILSVRC 2012), which holds train and val",
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
        defaults = ", ".join(f"{name} {m.__kwdefaults__[option]}" for name, m in GENERATED.items())
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
    made = MAKERS[args.dataset](args.out, **_options(args))
    verb = "Reused" if made.reused else "Made"
    train, val = shlex.quote(f"{made.train_path}"), shlex.quote(f"{made.val_path}")
    console.print(
        f"{verb} {args.dataset}: {made.train_images} training and {made.val_images} validation "
        f"images of {len(made.classes)} classes in {made.path}. "
        f"Train on it with: data.train_path={train} data.val_path={val}"
    )
    return 0


def _options(args: argparse.Namespace) -> dict[str, object]:
    options = {key: value for key, value in vars(args).items() if key not in ("dataset", "out")}
    is_imagenet = args.dataset == IMAGENET_100
    for key in options:
        if (key == "imagenet") != is_imagenet:
            flag = f"--{key.replace('_', '-')}"
            raise InputError(f"{flag} is not an option of {args.dataset}. Leave it out.")
    if is_imagenet and not options:
        raise InputError(
            f"{IMAGENET_100} needs --imagenet DIR, a download of ImageNet (ILSVRC 2012) from "
            "image-net.org or Kaggle, which holds train and val."
        )
    return options
