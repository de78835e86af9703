"""Settings that a recipe leaves at their default are typed like all others."""

import pytest
from conftest import RECIPES

from solo_bayesncl.recipes.compose import compose_recipe
from solo_bayesncl.recipes.overrides import add_settings

FOLDER = str(RECIPES / "pretrain/custom")


@pytest.mark.parametrize(
    ("override", "section", "value"),
    [
        ("data.on_corrupt=skip", "data", "skip"),
        ("data.fraction=0.5", "data", 0.5),
        ("scheduler.min_lr=0.1", "scheduler", 0.1),
        ("optimizer.lr=0.1", "optimizer", 0.1),  # which the recipe has
    ],
)
def test_setting_that_a_recipe_does_not_name_is_added(override, section, value):
    cfg = compose_recipe(FOLDER, "ncl", [override])
    assert cfg[section][override.partition("=")[0].partition(".")[2]] == value


@pytest.mark.parametrize(
    "override", ["augmentations=asymmetric", "~optimizer.kwargs", "+name=x", "++name=x", "mine.x=1"]
)
def test_groups_and_other_keys_stay_as_typed(override):
    assert add_settings([override]) == [override]
