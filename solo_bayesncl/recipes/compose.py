"""Finds and composes recipes: YAML files in solo-learn's layout, read by Hydra."""

import copy
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel

from solo_bayesncl.console import console_output, results
from solo_bayesncl.errors import InputError
from solo_bayesncl.files import expand_home
from solo_bayesncl.recipes.help import HELP
from solo_bayesncl.recipes.overrides import RECIPES, add_settings, read_text, split_arguments
from solo_bayesncl.recipes.paths import expand_homes
from solo_bayesncl.recipes.read_errors import as_input_error, everything_as_input_error
from solo_bayesncl.recipes.search_path import (
    BASE,
    KINDS,
    own_composition,
    recipe_root,
    resolve_preset,
)


def find_folder(name: str, option: str = "--config-path ") -> Path:
    """A folder of recipes: relative to the current folder, else among the package's own.

    Args:
        name: e.g. scripts/pretrain/cifar or pretrain/cifar.
        option: what the name is given with, for messages.

    Raises:
        InputError: if there is no such folder; lists the package's own.
    """
    path = expand_home(name)
    packaged = recipe_root() / name.removeprefix("./").removeprefix("scripts/")
    for folder in (path, packaged):
        shared = any((folder / f"base/solo_bayesncl_{kind}.yaml").is_file() for kind in KINDS)
        if folder.is_dir() and not shared:  # what data sets share is not a recipe by itself
            return folder.resolve()
    if path.is_file():
        raise InputError(f"{option}{name} is a file: give its folder, and its name apart.")
    own = sorted(
        f"scripts/{folder.relative_to(recipe_root())}"
        for folder in recipe_root().glob("*/*")
        if (folder / BASE).is_file()
    )
    raise InputError(
        f"{option}{name} is not a folder of recipes. Give one with YAML recipes, or one of the "
        f"package's own: {', '.join(own)}."
    )


def compose_recipe(
    folder: str,
    name: str,
    overrides: list[str],
    models: Sequence[type[BaseModel]] = RECIPES,
) -> DictConfig:
    """The configuration of a recipe, for use in a program.

    Args:
        folder, name: the values of --config-path and --config-name.
        overrides: key=value.
        models: of the configuration, see `read_text`.

    Raises:
        InputError: for what Hydra or OmegaConf cannot compose.
    """
    path = find_folder(folder)
    typed = read_text(overrides, models)
    _require_name(name, path)
    with everything_as_input_error(path, models), _suspended_hydra(), own_composition():
        with initialize_config_dir(str(path), version_base="1.2"):
            cfg = compose(name, add_settings(typed) if models is RECIPES else typed)
        OmegaConf.set_struct(cfg, False)
        resolve_preset(cfg)
        expand_homes(cfg, models)
        return cfg


@contextmanager
def _suspended_hydra() -> Iterator[None]:
    """Suspends the Hydra of the running command, as there can be one at a time."""
    running = GlobalHydra.instance()
    outer = running.hydra
    running.clear()
    try:
        yield
    finally:
        running.hydra = outer


def run_with_hydra(
    command: str,
    arguments: list[str],
    task: Callable[[DictConfig], None],
    models: Sequence[type[BaseModel]] = RECIPES,
) -> None:
    """Runs `task` with the configuration that Hydra's command line describes.

    Args:
        command: for messages.
        arguments: --config-path DIR --config-name NAME [key=value ...] and Hydra's other flags.
        task: takes the composed configuration, with new keys allowed.
        models: of the configuration, see `read_text`.

    Raises:
        InputError: for what Hydra or OmegaConf cannot compose.
    """
    arguments, overrides, flags = split_arguments(command, arguments)
    if flags.help:
        results.print(HELP, markup=False)
        return
    for flag, value in (("path", flags.config_path), ("name", flags.config_name)):
        if value is None:
            raise InputError(f"--config-{flag} is missing.\n{HELP}")
    # Hydra takes a relative folder relative to this package, and the last one of several
    folder = find_folder(flags.config_path)
    _require_name(flags.config_name, folder)
    arguments = [*arguments, "--config-path", str(folder)]
    typed = read_text(overrides, models, sweep=flags.multirun)
    arguments += add_settings(typed) if models is RECIPES else typed
    command_line = list(sys.argv)
    failures: list[Exception] = []

    def in_hydra(cfg: DictConfig) -> None:
        # Lightning starts the other processes of DDP with the command line of this one
        sys.argv = command_line
        OmegaConf.set_struct(cfg, False)
        try:
            with as_input_error(), console_output():
                resolve_preset(cfg)
                expand_homes(cfg, models)
                task(cfg)
        except Exception as error:
            if flags.multirun:  # a launcher's process may run this: Hydra passes the error on
                raise
            failures.append(error)  # kept from Hydra, which would add a print-out of its own

    # without this, Hydra turns every error into its own print-out and exit status 1
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [sys.argv[0], *arguments]
    # with --multirun, what is raised can be the task's
    composing = (
        as_input_error(folder) if flags.multirun else everything_as_input_error(folder, models)
    )
    try:
        with composing, own_composition(), _no_output_folder():
            hydra.main(version_base="1.2", config_path=None)(in_hydra)()
    finally:
        sys.argv = command_line
    if failures:
        raise failures[0]


@contextmanager
def _no_output_folder() -> Iterator[None]:
    """Makes Hydra's defaults those of our recipes: no folder and no log file of its own.

    A recipe and the command line can still set them.
    """
    store = ConfigStore.instance()
    stored = store.load("hydra/config.yaml").node
    node = copy.deepcopy(stored)
    node.run.dir, node.output_subdir = ".", None
    node.sweep.dir, node.sweep.subdir = (
        "multirun/${now:%Y-%m-%d}/${now:%H-%M-%S}",
        "${hydra.job.num}",
    )
    replaced = {"output": None, "hydra_logging": "disabled", "job_logging": "disabled"}
    node.defaults = [
        {key: replaced.get(key, value)} for entry in node.defaults for key, value in entry.items()
    ]
    store.store(group="hydra", name="config", node=node, provider="hydra")
    try:
        yield
    finally:
        store.store(group="hydra", name="config", node=stored, provider="hydra")


def _require_name(name: str, folder: Path) -> None:
    """Raises `InputError` for a name that holds the folder."""
    if "/" in name and not (folder / f"{name.removesuffix('.yaml')}.yaml").is_file():
        path = Path(name)
        raise InputError(
            f"--config-name {name}: {folder} has no such recipe. Give the folder apart: "
            f"--config-path {path.parent} --config-name {path.stem}."
        )
