"""A grid of a comparison: one recipe with every combination of some values."""

import itertools
import re
from string import Formatter
from typing import Any

from omegaconf import DictConfig, OmegaConf

from solo_bayesncl.comparison.config import Grid
from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes import validate

OUTER_COMMA = r",(?![^\[]*\])"  # outside of brackets


def expand_grid(cfg: DictConfig) -> DictConfig:
    """A comparison with its `grid` written out as variants; `methods: null` compares all of them.

    Raises:
        InputError: for a grid that cannot be used.
    """
    if cfg.get("grid") is None:
        return cfg
    variants = variants_of(validate(Grid, cfg.grid, "grid"))
    cfg = cfg.copy()
    cfg.variants = variants | OmegaConf.to_container(cfg.get("variants") or OmegaConf.create())
    if cfg.get("methods") is None:
        cfg.methods = list(variants)
    return cfg


def variants_of(grid: Grid) -> dict[str, dict[str, Any]]:
    """The variants of a comparison that a grid stands for.

    Returns:
        `recipe` and `overrides` by name, the values of the last key changing fastest. Values keep
        their spelling: 3e-5 stays 3e-5.

    Raises:
        InputError: if the template has an unknown field, or gives several variants one name.
    """
    pairs = [override.split("=", 1) for override in grid.overrides]
    values = {key: re.split(OUTER_COMMA, listed) for key, listed in pairs}
    fields = [key.rpartition(".")[2].lstrip("+") for key in values]
    _require_plain_fields(grid.name, fields)
    points = [*itertools.product(*values.values())]
    variants = {}
    for point in points:
        name = grid.name.format(**dict(zip(fields, point, strict=True)))
        overrides = [f"{key}={value}" for key, value in zip(values, point, strict=True)]
        variants[name] = {"recipe": grid.recipe, "overrides": overrides}
    if len(variants) < len(points):
        varied = [f"{{{f}}}" for f, v in zip(fields, values.values(), strict=True) if len(v) > 1]
        raise InputError(
            f"grid.name={grid.name}: some of the {len(points)} variants get the same name. It "
            f"needs {', '.join(varied)}."
        )
    return variants


def _require_plain_fields(template: str, fields: list[str]) -> None:
    """Raises `InputError` for braces that hold more than the name of a field."""
    try:
        parts = [*Formatter().parse(template)]
    except ValueError:
        parts = [("", "", "", None)]
    named = [part for part in parts if part[1] is not None]
    if any(name not in fields or spec or conversion for _, name, spec, conversion in named):
        raise InputError(f"grid.name={template}: in braces it takes one of {', '.join(fields)}.")
