"""Finds and composes recipes: YAML files in solo-learn's layout, read by Hydra."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from solo_bayesncl.console import console_output, results
from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes.overrides import quote_paths, split_arguments
from solo_bayesncl.recipes.paths import expand_homes
from solo_bayesncl.recipes.search_path import (
    BASE,
    KINDS,
    own_composition,
    recipe_names,
    recipe_root,
    resolve_preset,
)

HELP = """usage: solo-bayesncl COMMAND --config-path DIR --config-name NAME [key=value ...]

DIR holds YAML recipes, e.g. scripts/pretrain/cifar; NAME is one of them, e.g. bayesncl.
Any value of the recipe can be overridden: optimizer.lr=0.2. Hydra's other flags work too:
--cfg job prints the recipe as composed, --multirun runs every combination of values."""


def find_folder(name: str) -> Path:
    """A folder of recipes: relative to the current folder, else among the package's own.

    Args:
        name: the value of --config-path, e.g. scripts/pretrain/cifar or pretrain/cifar.

    Raises:
        InputError: if there is no such folder; lists the package's own.
    """
    path = Path(name).expanduser()
    packaged = recipe_root() / name.removeprefix("./").removeprefix("scripts/")
    for folder in (path, packaged):
        shared = any((folder / f"base/solo_bayesncl_{kind}.yaml").is_file() for kind in KINDS)
        if folder.is_dir() and not shared:  # what data sets share is not a recipe by itself
            return folder.resolve()
    own = sorted(
        f"scripts/{folder.relative_to(recipe_root())}"
        for folder in recipe_root().glob("*/*")
        if (folder / BASE).is_file()
    )
    raise InputError(
        f"--config-path {name} is not a folder of recipes. Give one with YAML recipes, or one of "
        f"the package's own: {', '.join(own)}."
    )


def compose_recipe(folder: str, name: str, overrides: list[str]) -> DictConfig:
    """The configuration of a recipe, for use in a program.

    Args:
        folder, name: the values of --config-path and --config-name.
        overrides: key=value.

    Raises:
        InputError: for what Hydra or OmegaConf cannot compose.
    """
    path = find_folder(folder)
    with as_input_error(path), _suspended_hydra(), own_composition():
        with initialize_config_dir(str(path), version_base="1.2"):
            cfg = compose(name, quote_paths(overrides))
        OmegaConf.set_struct(cfg, False)
        resolve_preset(cfg)
        expand_homes(cfg)
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


@contextmanager
def as_input_error(folder: Path | None = None) -> Iterator[None]:
    """Turns what Hydra and OmegaConf raise into one message; lists the recipes of `folder`."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        message = f"The recipe cannot be read: {_one_message(error)}"
        if folder and isinstance(error, MissingConfigException) and "primary config" in str(error):
            message = (
                f"--config-name {error.missing_cfg_file}: {folder} has no such recipe. It has "
                f"{', '.join(recipe_names(folder)) or 'none'}."
            )
        raise InputError(message) from error


def run_with_hydra(arguments: list[str], task: Callable[[DictConfig], None]) -> None:
    """Runs `task` with the configuration that Hydra's command line describes.

    Args:
        arguments: --config-path DIR --config-name NAME [key=value ...] and Hydra's other flags.
        task: takes the composed configuration, with new keys allowed.

    Raises:
        InputError: for what Hydra or OmegaConf cannot compose.
    """
    arguments, overrides, flags = split_arguments(arguments)
    if flags.help:
        results.print(HELP, markup=False)
        return
    for flag, value in (("path", flags.config_path), ("name", flags.config_name)):
        if value is None:
            raise InputError(f"--config-{flag} is missing.\n{HELP}")
    # Hydra takes a relative folder relative to this package, and the last one of several
    folder = find_folder(flags.config_path)
    arguments = [*arguments, "--config-path", str(folder)]
    command_line = list(sys.argv)
    failures: list[InputError] = []

    def in_hydra(cfg: DictConfig) -> None:
        # Lightning starts the other processes of DDP with the command line of this one
        sys.argv = command_line
        OmegaConf.set_struct(cfg, False)
        try:
            with as_input_error(), console_output():
                resolve_preset(cfg)
                expand_homes(cfg)
                task(cfg)
        except InputError as error:
            if flags.multirun:  # a launcher's process may run this: Hydra passes the error on
                raise
            failures.append(error)  # kept from Hydra, which would add a print-out of its own

    # without this, Hydra turns every error into its own print-out and exit status 1
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [sys.argv[0], *arguments, *quote_paths(overrides)]
    try:
        with as_input_error(folder), own_composition():
            hydra.main(version_base="1.2", config_path=None)(in_hydra)()
    finally:
        sys.argv = command_line
    if failures:
        raise failures[0]


def _one_message(error: Exception) -> str:
    cause = error.__cause__ or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    if "not in struct" in str(cause) or "Could not override" in str(error):
        lines.append("(To add a key that the recipe does not have, type ++key=value.)")
    return " ".join(dict.fromkeys(lines))
