"""A grid of a comparison: one recipe with every combination of some values."""

import itertools
import re
from typing import Any

from solo_bayesncl.errors import InputError

KEYS = ("recipe", "name", "overrides")


def variants_of(grid: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The variants of a comparison that a grid stands for.

    Args:
        grid: `recipe`; `overrides` with any number of values, e.g. `optimizer.lr=0.1,0.2`; `name`,
            which has the last part of such keys in braces, e.g. `lr_{lr}`. Values are taken as
            they are written: 3e-5 stays 3e-5.

    Returns:
        `recipe` and `overrides` by name, the values of the last key changing fastest.

    Raises:
        InputError: for a key that is missing or unknown, or a name that does not tell them apart.
    """
    recipe, template, overrides = (grid.get(key) for key in KEYS)
    if (
        {*grid} - {*KEYS}
        or not (isinstance(recipe, str) and isinstance(template, str))
        or not (isinstance(overrides, list) and overrides)
        or not all(isinstance(override, str) and "=" in override for override in overrides)
    ):
        raise InputError(
            f"grid={grid}: give recipe: NAME, overrides: a list of key=value,value,... (quote them "
            "in brackets) and name: a template, such as lr_{lr} for optimizer.lr=0.1,0.2."
        )
    keys, values = zip(*(override.split("=", 1) for override in overrides), strict=True)
    fields = [key.rpartition(".")[2].lstrip("+") for key in keys]
    points = [*itertools.product(*map(_split, values))]
    variants = {}
    for point in points:
        try:
            name = template.format(**dict(zip(fields, point, strict=True)))
        except (LookupError, ValueError, AttributeError):
            raise InputError(
                f"grid.name={template}: in braces it takes one of {', '.join(fields)}."
            ) from None
        pairs = zip(keys, point, strict=True)
        variants[name] = {"recipe": recipe, "overrides": [f"{key}={value}" for key, value in pairs]}
    if len(variants) < len(points):
        several = [field for field, value in zip(fields, values, strict=True) if _split(value)[1:]]
        raise InputError(
            f"grid.name={template}: some of the {len(points)} variants get the same name. It needs "
            f"{', '.join(f'{{{field}}}' for field in several)}."
        )
    return variants


def _split(values: str) -> list[str]:
    """At the commas outside of brackets."""
    return re.split(r",(?![^\[]*\])", values)
