"""Every recipe as composed, as JSON that a diff can show. Run it to renew the record.

A file per folder of recipes. `common` holds the settings that all of its recipes share, `recipes`
the others of each, under what is typed behind --config-name.
"""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from solo_bayesncl.comparison.grids import expand_grid
from solo_bayesncl.recipes.compose import compose_recipe

SNAPSHOTS = Path(__file__).parents[1] / "recipes"


def flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Settings by their dotted keys, e.g. `augmentations.0.crop_size`."""
    if not isinstance(settings, dict | list) or not settings:
        return {prefix.removesuffix("."): settings}
    items = settings.items() if isinstance(settings, dict) else enumerate(settings)
    return {k: v for key, value in items for k, v in flat(value, f"{prefix}{key}.").items()}


def settings_of(cfg: DictConfig) -> dict[str, Any]:
    """What a composed recipe says, with mandatory values as `???`."""
    return flat(OmegaConf.to_container(cfg, resolve=True))


def composed(folder: str, typed: str) -> dict[str, Any]:
    """The settings of a recipe or, with its grid written out, of a comparison.

    Args:
        folder: below `scripts`.
        typed: name of the recipe and any overrides.
    """
    name, *overrides = typed.split()
    cfg = compose_recipe(f"scripts/{folder}", name, overrides)
    if folder == "compare":
        cfg = expand_grid(cfg)
        del cfg["grid"]
    return settings_of(cfg)


def read(folder: str) -> dict[str, dict[str, Any]]:
    """The recorded settings of each recipe of a folder, e.g. `pretrain/cifar`."""
    record = json.loads((SNAPSHOTS / f"{folder.replace('/', '-')}.json").read_text())
    return {typed: record["common"] | rest for typed, rest in record["recipes"].items()}


def write(folder: str, recipes: dict[str, dict[str, Any]]) -> None:
    first, *others = recipes.values()
    common = {k: v for k, v in first.items() if all(k in o and o[k] == v for o in others)}
    record = {
        "common": common,
        "recipes": {
            typed: {k: v for k, v in settings.items() if k not in common}
            for typed, settings in recipes.items()
        },
    }
    path = SNAPSHOTS / f"{folder.replace('/', '-')}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")


def folders() -> list[str]:
    """Those with a snapshot."""
    return sorted(path.stem.replace("-", "/", 1) for path in SNAPSHOTS.glob("*.json"))


if __name__ == "__main__":
    for folder in folders():
        write(folder, {typed: composed(folder, typed) for typed in read(folder)})
