"""What Hydra, OmegaConf and YAML raise for a recipe that cannot be read, as one message."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes.search_path import recipe_names, shared_folders


@contextmanager
def as_input_error(folder: Path | None = None) -> Iterator[None]:
    """Turns what Hydra, OmegaConf and YAML raise into one message; lists the recipes of `folder`.

    For code that does other things as well: `everything_as_input_error` is for composing alone.
    """
    try:
        yield
    except yaml.YAMLError as error:
        raise InputError(_of_yaml(error)) from error
    except (HydraException, OmegaConfBaseException) as error:
        message = f"The recipe cannot be read: {_one_message(error)}"
        if folder and isinstance(error, MissingConfigException) and "primary config" in str(error):
            message = (
                f"--config-name {error.missing_cfg_file}: {folder} has no such recipe. It has "
                f"{', '.join(recipe_names(folder)) or 'none'}."
            )
        raise InputError(message) from error


@contextmanager
def everything_as_input_error(folder: Path) -> Iterator[None]:
    """Turns whatever composing a recipe of a folder raises into one message."""
    try:
        with as_input_error(folder):
            yield
    except InputError:
        raise
    except UnicodeDecodeError as error:
        raise InputError(_of_encoding(error, folder)) from error
    except RecursionError as error:
        raise InputError(
            f"The recipe cannot be read: its defaults, in {folder}, lead back to itself."
        ) from error
    except Exception as error:  # of defaults lists, Hydra checks little
        raise InputError(f"The recipe cannot be read: {error} (in {folder})") from error


def _one_message(error: Exception) -> str:
    cause = error.__cause__ or error
    text = re.split(r"\n\s*Config search path", str(cause) or str(error) or type(cause).__name__)[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if "not in struct" in str(cause) or "Could not override" in str(error):
        lines.append("(To add a key that the recipe does not have, type ++key=value.)")
    return " ".join(dict.fromkeys(lines))


def _of_yaml(error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError):  # a character that no YAML file may hold
        return f"A recipe is not YAML: {' '.join(str(error).split())}."
    mark = error.problem_mark or error.context_mark
    context = f"{error.context}, " if error.context else ""
    tab = "\\t" in str(error.problem)
    advice = " Indent with spaces." if tab else ""
    return f"{mark.name}, line {mark.line + 1}: not YAML: {context}{error.problem}.{advice}"


def _of_encoding(error: UnicodeDecodeError, folder: Path) -> str:
    for path in _yaml_files(folder):
        content = path.read_bytes()
        if bytes(error.object) in content:
            start = content.index(error.object) + error.start
            line = content[:start].count(b"\n") + 1
            return f"{path}, line {line}: not UTF-8 ({error.reason}). Save the file as UTF-8."
    return f"A recipe in {folder} is not UTF-8: {error}. Save the file as UTF-8."


def _yaml_files(folder: Path) -> Iterable[Path]:
    for each in (folder, *shared_folders(folder)):
        yield from (path for path in each.rglob("*.yaml") if path.is_file())
