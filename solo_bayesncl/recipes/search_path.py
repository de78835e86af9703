"""Where recipes are searched for, in our commands and in solo-learn's own scripts."""

from pathlib import Path
from typing import TYPE_CHECKING

import solo_bayesncl
from solo_bayesncl import adapters

if TYPE_CHECKING:
    from hydra.core.config_search_path import ConfigSearchPath

PACKAGED = Path(__file__).parents[1] / "yaml"  # in an installed package
CLONE = Path(__file__).parents[2] / "scripts"  # beside the package in a clone
KINDS = ("pretrain", "linear")


def recipe_root() -> Path:
    """The folder with `pretrain/` and `linear/` that belongs to this installation."""
    return PACKAGED if PACKAGED.is_dir() else CLONE


def extend(search_path: "ConfigSearchPath") -> None:
    """Registers the methods, and adds the recipes that belong to the program's own folder.

    For `--config-path scripts/pretrain/cifar` these are the ones of our `pretrain/cifar`. They come
    behind the program's: a file of its folder wins over ours of the same name. If it has no such
    folder, ours takes the place. Does nothing on solo-learn 1.0.2, whose scripts know no Hydra.

    Args:
        search_path: of the running Hydra program; changed in place.
    """
    if not adapters.scripts_use_hydra():
        return
    solo_bayesncl.register()
    for element in list(search_path.get_path()):
        if element.provider != "main":
            continue
        folder = Path(element.path.removeprefix("file://"))
        kind, name = folder.parts[-2:] if len(folder.parts) > 1 else ("", "")
        ours = recipe_root() / kind / name
        if kind not in KINDS or not ours.is_dir():
            continue
        if folder.is_dir():
            search_path.append("solo_bayesncl", str(ours))
        else:
            element.path = str(ours)
