"""What the files of a recipe may tell Hydra: nothing that runs code.

Hydra calls what its own section names: callbacks, launchers, sweepers, handlers of logging. A
recipe can come from the internet, so its section may hold a few plain settings only. The command
line, and a folder that it names with --config-dir, are the user's own and may hold anything.
"""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from omegaconf import DictConfig, OmegaConf

from solo_bayesncl.errors import InputError

SCHEME = "recipe"  # of folders whose files are checked; Hydra's own for a folder is "file"
OWN_CALLBACKS = {"solo_bayesncl": {"_target_": "hydra_plugins.solo_bayesncl.ResolvePreset"}}
# key of `hydra` -> the keys in it that may be set; None for any plain values
_ALLOWED: dict[str, tuple[str, ...] | None] = {
    "output_subdir": None,
    "mode": None,
    "verbose": None,
    "run": ("dir",),
    "sweep": ("dir", "subdir"),
    "job": ("name", "chdir", "config"),
    "sweeper": ("params", "max_batch_size"),
}


def names_hydra(text: str) -> bool:
    """Whether a path, a package or a key leads into Hydra's own section."""
    return re.search(r"(?<![^./@:+~ ])hydra(?![^./@:= ])", text) is not None


def check_file(config: Any, header: Mapping[str, Any], path: str) -> None:
    """Checks a file of a recipe; entries of `hydra.searchpath` are checked in their turn.

    Args:
        config: its content, changed in place.
        header: the `# @package` line.
        path: of the file, for messages.

    Raises:
        InputError: if it tells Hydra more than it may.
    """
    package = header.get("package") or ""
    if names_hydra(package):
        raise _refusal(path, f"# @package {package}")
    if not isinstance(config, DictConfig):
        return
    defaults = OmegaConf.to_container(config).get("defaults")
    for entry in defaults if isinstance(defaults, list) else ():
        for default in entry if isinstance(entry, dict) else [str(entry)]:
            _, _, package = str(default).partition("@")
            if names_hydra(package) or "$" in package:
                raise _refusal(path, f"defaults: {default}")
    if "hydra" not in config:
        return
    section = OmegaConf.to_container(config)["hydra"]
    if not isinstance(section, dict):
        raise _refusal(path, f"hydra: {section}")
    for key, value in section.items():
        if not _is_allowed(key, value):
            raise _refusal(path, f"hydra.{key}")
    if "searchpath" in section:
        folders = [entry.removeprefix("file://") for entry in section["searchpath"]]
        config.hydra.searchpath = [f"{SCHEME}://{folder}" for folder in folders]


def refuse_hydra_folder(folder: str, path: str) -> None:
    """Raises `InputError`: a file of a recipe is an option of one of Hydra's own groups."""
    raise _refusal(str(PurePosixPath(folder, path)), "an option of Hydra")


def _is_allowed(key: str, value: Any) -> bool:
    if key == "callbacks":
        return value == OWN_CALLBACKS
    if key == "searchpath":
        return isinstance(value, list) and all(
            isinstance(entry, str) and (entry.startswith("file://") or "://" not in entry)
            for entry in value
        )
    if key == "launcher":  # a number of processes or minutes
        return isinstance(value, dict) and all(isinstance(v, int | float) for v in value.values())
    if key not in _ALLOWED:
        return False
    accepted = _ALLOWED[key]
    if accepted is None:
        return not isinstance(value, dict)
    if not isinstance(value, dict) or not value.keys() <= set(accepted):
        return False
    params = value.get("params") or {}
    return isinstance(params, dict) and not any("hydra" in str(name) for name in params)


def _refusal(path: str, what: str) -> InputError:
    return InputError(
        f"{path} has {what}: a recipe's file may not decide what Hydra runs. Remove it; if it is "
        "yours, type it on the command line, or put it into another folder and give that with "
        "--config-dir."
    )
