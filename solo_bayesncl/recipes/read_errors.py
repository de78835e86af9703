"""What Hydra, OmegaConf and YAML raise for a recipe that cannot be read, as one message."""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml
from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel

from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes.keys import leaf_keys
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
        if folder and isinstance(error, MissingConfigException):
            message += f" (Searched: {', '.join(map(str, (folder, *shared_folders(folder))))}.)"
            if "primary config" in str(error):
                message = (
                    f"--config-name {error.missing_cfg_file}: {folder} has no such recipe. It has "
                    f"{', '.join(recipe_names(folder)) or 'none'}."
                )
        raise InputError(message) from error


@contextmanager
def everything_as_input_error(
    folder: Path, models: Sequence[type[BaseModel]] = ()
) -> Iterator[None]:
    """Turns whatever composing a recipe of a folder raises into one message.

    Args:
        folder: of the recipe.
        models: of the configuration, with the keys that may be meant by an unknown one.
    """
    try:
        with as_input_error(folder):
            yield
    except InputError as error:
        if absent := re.search(r"Could not override '(.+?)'", str(error.__cause__)):
            raise InputError(_of_absent_key(absent[1], models)) from error
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
    """The lines of an error as one, with the key that it is about in front."""
    cause = error.__cause__ or error
    key = getattr(error, "full_key", None) or getattr(cause, "full_key", None)
    text = re.split(r"\n\s*Config search path", str(cause) or str(error) or type(cause).__name__)[0]
    lines = [line.strip() for line in text.splitlines()]
    told = [line for line in lines if not re.match(r"(full_key|object_type|reference_type)", line)]
    told = [line.replace("argument '++", "argument '") for line in told]  # not always typed
    return (f"{key}: " if key else "") + " ".join(dict.fromkeys(filter(None, told)))


def _of_absent_key(key: str, models: Sequence[type[BaseModel]]) -> str:
    known = [leaf for model in models for leaf in (*model.model_fields, *leaf_keys(model))]
    key_of_entry = re.sub(r"\b\d+\b", "INDEX", key)
    near = [] if key_of_entry in known else difflib.get_close_matches(key, known, n=1, cutoff=0.7)
    meant = f"Did you mean {near[0]}? " if near else ""
    return f"{key} is not in this recipe. {meant}To add a key, type ++key=value: ++{key}=..."


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
