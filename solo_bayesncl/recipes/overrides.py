"""The arguments that Hydra takes: flags such as --config-name, and overrides key=value."""

from argparse import Namespace
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from hydra.main import get_args_parser

from solo_bayesncl.errors import InputError

PATH_KEYS = (
    "data.train_path",
    "data.val_path",
    "checkpoint.dir",
    "pretrained_feature_extractor",
    "resume_from_checkpoint",
    "out",
    "evaluation.metadata",
    "evaluation.reference_weights",
)


def split_arguments(arguments: list[str]) -> tuple[list[str], list[str], Namespace]:
    """Separates flags and overrides, which may alternate.

    Returns:
        (flags with their values, overrides, the flags as Hydra parses them).

    Raises:
        SystemExit: for a flag that Hydra does not have.
    """
    parsed = get_args_parser().parse_intermixed_args(arguments)
    flags = [argument for argument in arguments if argument not in parsed.overrides]
    return flags, parsed.overrides, parsed


def key_of(override: str) -> str:
    """The dotted key, or config group, that an override changes.

    Raises:
        InputError: if it is not an override.
    """
    try:
        return _parse(override.partition("=")[0] + "=null").key_or_group
    except HydraException as error:
        raise InputError(
            f"{override!r} is not an override: give key=value, +key=value or ~key."
        ) from error


def quote(text: str) -> str:
    """Text as a quoted string of Hydra's grammar, whatever is in it."""
    return QuotedString(text, Quote.single).with_quotes()


def quote_paths(overrides: list[str]) -> list[str]:
    """Expands `~` in paths, and quotes those that Hydra's grammar does not read as text."""
    return [_quote_path(override) for override in overrides]


def _quote_path(override: str) -> str:
    key, separator, value = override.partition("=")
    if not separator or key.lstrip("+") not in PATH_KEYS:
        return override
    if value.startswith("~"):  # not expanded by a shell, since it is not at the start of a word
        return f"{key}={quote(str(Path(value).expanduser()))}"
    try:
        parsed = _parse(override)
        is_text = parsed.is_sweep_override() or not isinstance(parsed.value(), list | dict)
    except HydraException:
        is_text = False
    return override if is_text else f"{key}={quote(value)}"


def _parse(override: str) -> Override:
    return OverridesParser.create().parse_override(override)
