"""Keys of a recipe that are no settings: slips, which are refused, and keys of a user's own."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes.model_schema import ModelSchema
from solo_bayesncl.recipes.validation import plain, validate

_logger = logging.getLogger(__name__)

Model = TypeVar("Model", bound=BaseModel)
SIMILAR = 0.75  # from 0 to 1; max_epoch and max_epochs 0.95, epochs and max_epochs 0.75


def validate_with_own_keys(
    model: type[Model], values: Mapping[str, Any], prefix: str = ""
) -> Model:
    """As `validate`, but further keys are allowed that resemble no setting; a warning names them.

    Interpolations may refer to them. Sections inside `values` are closed.

    Raises:
        InputError: one line for each wrong value and for each key that resembles a setting.
    """
    if wrong := [key for key in values if not isinstance(key, str)]:
        raise InputError(f"{wrong[0]!r} is a key of the recipe, but keys are text: remove it.")
    values = plain(values)
    own = [key for key in values if _is_own(model, key, values)]
    validated = validate(model, {k: values[k] for k in values if k not in own}, prefix)
    for key in own:
        dotted = f"{prefix}.{key}" if prefix else key
        _logger.warning(
            "%s is not a setting: only interpolations such as ${%s} read it.",
            dotted,
            dotted,
            extra={"once": True},
        )
    return validated


def _is_own(model: type[BaseModel], key: str, values: Mapping[str, Any]) -> bool:
    """Whether a key resembles no setting, or is the variable that gives a setting its value."""
    if key in model.model_fields:
        return False
    near = ModelSchema(model).nearest(key, cutoff=SIMILAR)
    if any(name in model.model_fields for name in near):
        return False
    return not near or any(values[key] in _values_at(values, leaf.split(".")) for leaf in near)


def _values_at(values: Any, path: list[str]) -> Iterator[Any]:
    """The values of a dotted key, in each entry of a list."""
    if not path:
        yield values
    elif path[0] == "INDEX" and isinstance(values, list):
        for entry in values:
            yield from _values_at(entry, path[1:])
    elif isinstance(values, dict) and path[0] in values:
        yield from _values_at(values[path[0]], path[1:])
