"""Where recipes are searched for, in our commands and in solo-learn's own scripts."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf, open_dict

from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes.trust import SCHEME

if TYPE_CHECKING:
    from hydra.core.config_search_path import ConfigSearchPath, SearchPathElement

PACKAGED = Path(__file__).parents[1] / "yaml"  # in an installed package
CLONE = Path(__file__).parents[2] / "scripts"  # beside the package in a clone
KINDS = ("pretrain", "linear")
BASE = "base/solo_bayesncl.yaml"
PRESET = "solo_bayesncl_preset"  # section of values that depend on the data set
PROVIDER = "solo_bayesncl"  # of what we add to a search path

_composes_for_us = ContextVar("composes_for_us", default=False)
_runs_script = ContextVar("runs_script", default=False)


@contextmanager
def own_composition() -> Iterator[None]:
    """While open, the Hydra plugin knows that a recipe is composed for us, not for solo-learn."""
    token = _composes_for_us.set(True)
    try:
        yield
    finally:
        _composes_for_us.reset(token)


def composes_for_us() -> bool:
    """Whether `own_composition` is open."""
    return _composes_for_us.get()


@contextmanager
def script_of_solo_learn() -> Iterator[None]:
    """While open, the Hydra plugin knows that a script of solo-learn runs inside our command."""
    token = _runs_script.set(True)
    try:
        yield
    finally:
        _runs_script.reset(token)


def runs_script() -> bool:
    """Whether `script_of_solo_learn` is open."""
    return _runs_script.get()


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
    text = base.read_text(encoding="utf-8", errors="replace") if base.is_file() else ""
    return [
        shared
        for kind in KINDS
        if f"solo_bayesncl_{kind}" in text
        for shared in (recipe_root() / kind, recipe_root())
    ]


def recipe_names(folder: Path) -> list[str]:
    """What can be given as --config-name with a folder, sorted."""
    folders = [folder, *shared_folders(folder)]
    files = (path for each in folders for path in each.glob("*.yaml") if path.is_file())
    return sorted({path.stem for path in files})


def _folder(element: "SearchPathElement") -> Path:
    return Path((element.path or "").removeprefix("file://"))


def check_files(search_path: "ConfigSearchPath") -> None:
    """Lets files of recipes be checked when they are read: see `recipes.trust`."""
    for element in search_path.get_path():
        if element.provider in ("main", PROVIDER):
            element.path = f"{SCHEME}://{_folder(element)}"


def append_shared(search_path: "ConfigSearchPath") -> None:
    """Appends what the folders of recipes on a search path share, see `shared_folders`."""
    for element in list(search_path.get_path()):
        if element.provider in ("main", PROVIDER):
            for folder in shared_folders(_folder(element)):
                search_path.append(PROVIDER, str(folder))


def extend(search_path: "ConfigSearchPath") -> None:
    """Adds our recipes that belong to the folder of another program, solo-learn's script.

    For `--config-path scripts/pretrain/cifar` these are the ones of our `pretrain/cifar`. They are
    searched after the program's own folder, so a file of the same name there is preferred. If the
    program has no such folder, ours replaces it.
    """
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
    """Resolves what refers to the section `PRESET` of a composed recipe, and removes the section.

    `cfg` is changed in place; without such a section it stays as it is.

    Raises:
        InputError: for a copy of a data set's folder that has the section under its old name.
    """
    if PRESET not in cfg:
        return
    if OmegaConf.is_missing(cfg[PRESET], "name") and "preset" in cfg:
        raise InputError(
            f"The section `preset` of {BASE} is now called `{PRESET}`: rename it in your copy."
        )
    for key in [key for key in cfg if key not in ("hydra", PRESET)]:
        if OmegaConf.is_missing(cfg, key):
            continue
        if OmegaConf.is_interpolation(cfg, key):
            cfg[key] = cfg[key]
        elif OmegaConf.is_config(cfg[key]):
            OmegaConf.to_container(cfg[key], resolve=True)  # whose errors name the key
            OmegaConf.resolve(cfg[key])
    with open_dict(cfg):
        del cfg[PRESET]
