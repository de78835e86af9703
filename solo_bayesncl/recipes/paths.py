"""Paths in a recipe or a comparison: home folders, and whether two of them are the same."""

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel

from solo_bayesncl.files import expand_home
from solo_bayesncl.recipes.keys import path_keys
from solo_bayesncl.recipes.overrides import RECIPES

Models = Sequence[type[BaseModel]]


def expand_homes(cfg: DictConfig, models: Models = RECIPES) -> None:
    """Puts the home folder in place of `~` in every path, in place; `models` name the paths."""
    for key in _keys(models):
        path = OmegaConf.select(cfg, key)
        if isinstance(path, str) and path.startswith("~"):
            OmegaConf.update(cfg, key, str(expand_home(path)))


def record_absolute(cfg: DictConfig) -> None:
    """Makes the paths of what a run reads absolute, in place: its record may be read anywhere."""
    for key in ("data.train_path", "data.val_path", "pretrained_feature_extractor"):
        path = OmegaConf.select(cfg, key)
        if isinstance(path, str):
            OmegaConf.update(cfg, key, str(Path(path).absolute()))


def with_resolved_paths(settings: dict[str, Any], models: Models = RECIPES) -> dict[str, Any]:
    """Settings in which the same place has the same path: absolute, without symbolic links."""
    resolved = copy.deepcopy(settings)
    for key in _keys(models):
        *sections, last = key.split(".")
        node: Any = resolved
        for section in sections:
            node = node.get(section) if isinstance(node, dict) else None
        if isinstance(node, dict) and isinstance(node.get(last), str):
            node[last] = os.path.realpath(expand_home(node[last]))
    return resolved


def _keys(models: Models) -> list[str]:
    return list(dict.fromkeys(key for model in models for key in path_keys(model)))
