"""The arguments that Hydra takes: flags such as --config-name, and overrides key=value."""

from argparse import Action, Namespace
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from hydra.main import get_args_parser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel

from solo_bayesncl.arguments import ArgumentParser
from solo_bayesncl.errors import InputError
from solo_bayesncl.files import expand_home
from solo_bayesncl.recipes.keys import leaf_keys, path_keys, text_keys
from solo_bayesncl.recipes.schema import LinearRecipe, PretrainRecipe

RECIPES = (PretrainRecipe, LinearRecipe)
_NOT_AN_OVERRIDE = "is not an override: give key=value without spaces around =, +key=value or ~key."


def split_arguments(command: str, arguments: list[str]) -> tuple[list[str], list[str], Namespace]:
    """Separates flags and overrides, which may alternate.

    Args:
        command: for messages.
        arguments: Hydra's, behind the command.

    Returns:
        (flags with their values, written out; overrides; the flags as Hydra parses them).

    Raises:
        InputError: for a flag that Hydra does not have, or that is given twice.
    """
    parser = ArgumentParser(
        prog=f"solo-bayesncl {command}", parents=[get_args_parser()], add_help=False
    )
    parsed = parser.parse_intermixed_args(arguments)
    actions = [action for action in parser._actions if action.option_strings]
    _refuse_repeated(actions, arguments)
    flags = []
    for action in actions:
        value = getattr(parsed, action.dest, None)
        if value not in (None, False):
            flags += [action.option_strings[0], *([] if value is True else [value])]
    return flags, parsed.overrides, parsed


def _refuse_repeated(actions: list[Action], arguments: list[str]) -> None:
    """Of a flag that is given twice, argparse would take the last value without a word."""
    typed = [argument.partition("=")[0] for argument in arguments]
    for action in actions:
        if action.nargs != 0 and sum(typed.count(name) for name in action.option_strings) > 1:
            raise InputError(f"{action.option_strings[0]} is given twice: give it once.")


def key_of(override: str) -> str:
    """The dotted key, or config group, that an override changes.

    Raises:
        InputError: if it is not an override.
    """
    key, separator, _ = override.partition("=")
    try:
        if not key or not (separator or key.startswith("~")):
            raise HydraException
        return _parse(f"{key}=null").key_or_group
    except HydraException as error:
        raise InputError(f"{override!r} {_NOT_AN_OVERRIDE}") from error


def quote(text: str) -> str:
    """Text as a quoted string of Hydra's grammar, whatever is in it."""
    return QuotedString(text, Quote.single).with_quotes()


def read_text(
    overrides: Sequence[str],
    models: Sequence[type[BaseModel]] = RECIPES,
    sweep: bool = False,
) -> list[str]:
    """Overrides in which Hydra reads text as it is typed, where a key wants text.

    Hydra's grammar refuses é, # or ~, and reads a path such as 2024, a=b or x,y as a number, not at
    all, or as a sweep. What it cannot read for other keys becomes text, too: their check then says
    what they accept. Quoted text, interpolations, `null` and escaped characters are left to Hydra.

    Args:
        overrides: as typed. `~` at the start of a path is expanded.
        models: of the configuration; they say which keys want text.
        sweep: whether commas separate the values of a sweep, as with --multirun.

    Raises:
        InputError: for what is not an override.
    """
    texts = {key for model in models for key in text_keys(model)}
    paths = {key for model in models for key in path_keys(model)}
    return [_read(override, key_of(override), texts, paths, sweep) for override in overrides]


def add_settings(overrides: Sequence[str]) -> list[str]:
    """Overrides in which `++` stands before every setting of recipes that has none.

    A recipe need not name what it leaves at its default, such as `data.fraction`.
    """
    settings = {key for model in RECIPES for key in leaf_keys(model)}
    return [
        f"++{override}" if override.partition("=")[0] in settings else override
        for override in overrides
    ]


def _read(override: str, key: str, texts: set[str], paths: set[str], sweep: bool) -> str:
    typed, separator, value = override.partition("=")
    value = value.strip()
    if not separator or typed.startswith("~"):
        return override
    if key in paths and value.startswith("~"):  # a shell only expands it at the start of a word
        return f"{typed}={quote(str(expand_home(value)))}"
    try:
        parsed = _parse(override)
        if parsed.is_sweep_override():
            is_read = sweep or key not in texts
        else:
            is_read = key not in texts or isinstance(parsed.value(), str | None)
    except HydraException:
        is_read = False
    return override if is_read else f"{typed}={quote(value)}"


def apply(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Applies overrides to a configuration in place; keys may be new.

    Raises:
        InputError: for one that cannot be applied.
    """
    for override in read_text(overrides):
        try:
            parsed = _parse(override)
            if parsed.is_sweep_override():
                raise InputError(f"{override!r} has several values: give one.")
            *section, last = parsed.key_or_group.split(".")
            if parsed.is_delete():
                OmegaConf.select(cfg, ".".join(section)).pop(last) if section else cfg.pop(last)
            else:
                OmegaConf.update(cfg, parsed.key_or_group, parsed.value(), force_add=True)
        except (OmegaConfBaseException, ValueError, TypeError, IndexError, LookupError) as error:
            if isinstance(error, InputError):
                raise
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(f"{override!r} cannot be put into the settings: {reason}") from error


def _parse(override: str) -> Override:
    return OverridesParser.create().parse_override(override)
