"""A resumed run follows its recipe."""

from pathlib import Path

import pytest
import torch
from conftest import RECIPES, only_run, tiny

from solo_bayesncl.__main__ import main

pytestmark = pytest.mark.usefixtures("narrow_backbone")

SGD = ["optimizer.name=sgd", "~optimizer.kwargs", "++scheduler.warmup_epochs=1"]


def pretrain(images: Path, out: Path, *overrides: str) -> Path:
    recipe = ["--config-path", str(RECIPES / "pretrain/custom"), "--config-name", "bayesncl"]
    assert main(["pretrain", *recipe, *tiny(images, out, *SGD, *overrides)]) == 0
    return only_run(out, "bayesncl")


def settings(run: Path) -> list[dict]:
    """Of the optimizer's parameter groups, after the last epoch."""
    content = torch.load(max(run.glob("*.ckpt")), weights_only=True)
    groups = content["optimizer_states"][0]["param_groups"]
    return [{key: value for key, value in group.items() if key != "params"} for group in groups]


@pytest.mark.parametrize(
    "schedule",
    [[], ["scheduler.name=step", "++scheduler.lr_decay_steps=[2]"]],
    ids=["cosine", "step"],
)
def test_other_settings_than_the_checkpoints_have_effect_and_are_named(
    images, tmp_path, capsys, schedule
):
    recipe = [*schedule, "max_epochs=3", "optimizer.lr=0.3", "optimizer.weight_decay=0.1",
              "++scheduler.min_lr=0.01", "optimizer.classifier_lr=0.2"]  # fmt: skip
    expected = settings(pretrain(images, tmp_path / "whole", *recipe))
    start = pretrain(images, tmp_path / "start", *schedule, "optimizer.lr=0.7")
    capsys.readouterr()
    resume = f"resume_from_checkpoint={start}"
    assert settings(pretrain(images, tmp_path / "resumed", *recipe, resume)) == expected
    message = capsys.readouterr().err
    assert "the recipe's settings, not the checkpoint's, are used: " in message
    assert "lr 0.04375 -> 0.01875" in message
    assert "weight_decay 0.0001 -> 0.1" in message


def test_nothing_is_said_of_a_run_that_goes_on_with_its_settings(images, tmp_path, capsys):
    scheduleless = ["scheduler.name=none"]
    start = pretrain(images, tmp_path / "start", *scheduleless)
    resume = [f"resume_from_checkpoint={start}", "max_epochs=2", *scheduleless]
    pretrain(images, tmp_path / "resumed", *resume)
    assert "not the checkpoint's" not in capsys.readouterr().err
