"""solo-learn's own scripts: recipes and methods for those with Hydra, methods for the others."""

import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf, open_dict

import solo_bayesncl
from solo_bayesncl import hosts
from solo_bayesncl.errors import InputError

if TYPE_CHECKING:
    from hydra.core.config_search_path import ConfigSearchPath, SearchPathElement

PACKAGED = Path(__file__).parent / "yaml"  # in an installed package
CLONE = Path(__file__).parents[1] / "scripts"  # beside the package in a clone
KINDS = ("pretrain", "linear")
BASE = "base/solo_bayesncl.yaml"
PROVIDER = "solo_bayesncl"  # of what we add to a search path


def recipe_root() -> Path:
    """The folder with `pretrain/` and `linear/` that belongs to this installation."""
    return PACKAGED if PACKAGED.is_dir() else CLONE


def shared_folders(folder: Path) -> list[Path]:
    """Where a data set's folder finds the recipes and groups that it does not have itself.

    Args:
        folder: of recipes. It is a data set's if it has `base/solo_bayesncl.yaml`, which builds on
            `base/solo_bayesncl_pretrain.yaml` or `base/solo_bayesncl_linear.yaml` of ours.

    Returns:
        Our `pretrain/` or `linear/` and the folder that holds both; none for other folders.
    """
    base = folder / BASE
    text = base.read_text(encoding="utf-8") if base.is_file() else ""
    return [
        shared
        for kind in KINDS
        if f"solo_bayesncl_{kind}" in text
        for shared in (recipe_root() / kind, recipe_root())
    ]


def recipe_names(folder: Path) -> list[str]:
    """What can be given as --config-name with a folder, sorted."""
    folders = [folder, *shared_folders(folder)]
    return sorted({path.stem for each in folders for path in each.glob("*.yaml")})


def _folder(element: "SearchPathElement") -> Path:
    return Path((element.path or "").removeprefix("file://"))


def append_shared(search_path: "ConfigSearchPath") -> None:
    """Appends what the folders of recipes on a search path share, see `shared_folders`."""
    for element in list(search_path.get_path()):
        if element.provider in ("main", PROVIDER):
            for folder in shared_folders(_folder(element)):
                search_path.append(PROVIDER, str(folder))


def extend(search_path: "ConfigSearchPath") -> None:
    """Registers the methods, and adds the recipes that belong to the program's own folder.

    For `--config-path scripts/pretrain/cifar` these are the ones of our `pretrain/cifar`. They come
    behind the program's: a file of its folder wins over ours of the same name. If it has no such
    folder, ours takes the place. Does nothing on solo-learn 1.0.2, whose scripts know no Hydra.

    Args:
        search_path: of the running Hydra program; changed in place.
    """
    if not hosts.scripts_use_hydra():
        return
    solo_bayesncl.register()
    for element in list(search_path.get_path()):
        if element.provider != "main":
            continue
        folder = _folder(element)
        kind, name = folder.parts[-2:] if len(folder.parts) > 1 else ("", "")
        ours = recipe_root() / kind / name
        if kind not in KINDS or not (ours / BASE).is_file():
            continue
        if folder.is_dir():
            search_path.append(PROVIDER, str(ours))
        else:
            element.path = str(ours)
    append_shared(search_path)


def resolve_preset(cfg: DictConfig) -> None:
    """Puts the values of the section `preset` in all places that refer to it, and removes it.

    Args:
        cfg: a composed recipe, changed in place. Without such a section it stays as it is.
    """
    if "preset" not in cfg:
        return
    for key in [key for key in cfg if key not in ("hydra", "preset")]:
        if OmegaConf.is_missing(cfg, key):
            continue
        if OmegaConf.is_interpolation(cfg, key):
            cfg[key] = cfg[key]
        elif OmegaConf.is_config(cfg[key]):
            OmegaConf.resolve(cfg[key])
    with open_dict(cfg):
        del cfg["preset"]


def run(script: str, arguments: list[str]) -> None:
    """Runs a script like solo-learn's `main_knn.py` as if directly, with the methods registered.

    Args:
        script: path of a Python file.
        arguments: those of the script.

    Raises:
        InputError: if there is no such file, or no solo-learn.
        SystemExit: if the script does.
    """
    path = Path(script)
    if not path.is_file():
        raise InputError(f"{script} is not a file. Give the path of a script of solo-learn.")
    solo_bayesncl.register()
    command_line, import_path = sys.argv, list(sys.path)
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(path.resolve().parent))
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        sys.argv, sys.path[:] = command_line, import_path
