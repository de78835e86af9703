"""Gates and codes that carry no information are called by their names, and healthy ones are not."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from conftest import RECIPES, only_run, tiny

from solo_bayesncl import load_encoder
from solo_bayesncl.__main__ import main
from solo_bayesncl.comparison.sentences import model_warnings
from solo_bayesncl.console import console_output
from solo_bayesncl.errors import InputError
from solo_bayesncl.methods.collapse import collapse_of

pytestmark = pytest.mark.usefixtures("narrow_backbone")

STRONG = "method_kwargs.bayesian_kl_lambda=1"
KWARGS = {"bayesian_prior_prob": 0.2, "bayesian_kl_lambda": 1, "gate_threshold": 0.5}


def pretrain(images: Path, out: Path, *overrides: str, method: str = "bayesncl") -> Path:
    recipe = ["--config-path", str(RECIPES / "pretrain/custom"), "--config-name", method]
    assert main(["pretrain", *recipe, *tiny(images, out, *overrides)]) == 0
    return only_run(out, method)


@pytest.fixture(scope="module")
def healthy(narrow_backbone, images, tmp_path_factory) -> Path:
    return pretrain(images, tmp_path_factory.mktemp("healthy"))


@pytest.mark.parametrize(
    ("prior", "words", "advice"),
    [
        (0.01, "The gate is closed: ", "Raise method_kwargs.bayesian_prior_prob (0.01)"),
        (
            0.99,
            "The gate is open everywhere (100.0%)",
            "Lower method_kwargs.bayesian_kl_lambda (1)",
        ),
    ],
)
def test_collapse_of_the_gate_is_said_in_training_and_by_evaluate_and_explain(
    images, tmp_path, capsys, prior, words, advice
):
    overrides = [STRONG, f"method_kwargs.bayesian_prior_prob={prior}", "max_epochs=4"]
    run = pretrain(images, tmp_path, *overrides)
    message = capsys.readouterr().err
    assert f"epoch 3: {words}" in message
    assert message.count(words) == (2 if prior < 0.5 else 1)  # when it is first seen, at the end
    assert advice in message
    for command in ("evaluate", "explain"):
        assert main([command, str(run), "--device", "cpu"]) == 0
        first, *_ = capsys.readouterr().err.splitlines()
        assert words in first
        assert advice in first
    evaluation = json.loads((run / "evaluation.json").read_text())
    (warning,) = evaluation["warnings"]
    assert warning.startswith(words)
    assert "The gate is" in (run / "report.html").read_text()
    (of_comparison,) = model_warnings({"bayesncl": {7: evaluation}})
    assert of_comparison.startswith(f"bayesncl, seed 7: {words}")


def test_nothing_is_said_of_healthy_runs(healthy, capsys):
    assert main(["evaluate", str(healthy), "--device", "cpu"]) == 0
    assert "gate" not in capsys.readouterr().err
    assert json.loads((healthy / "evaluation.json").read_text())["warnings"] == []


@pytest.mark.parametrize(
    ("empty", "open_rate", "more", "words"),
    [
        (0.0, 0.5, {}, None),
        (0.0, 0.01, {}, None),
        (0.3, 0.009, {}, "The gate is closed: 0.9% is open, 30% of the codes are empty"),
        (0.51, 0.4, {}, "51% of the codes are empty.*bayesian_prior_prob"),
        (0.51, None, {}, "51% of the codes are empty.*Lower optimizer.lr"),
        (0.5, None, {}, None),
        (0.0, 1.0, {}, "open everywhere"),
        (0.0, 1.0, {"gate_type": "soft"}, None),  # its values are never zero
    ],
)
def test_thresholds(empty, open_rate, more, words):
    found = collapse_of(KWARGS | more, empty, open_rate)
    if words is None:
        assert found is None
    else:
        assert re.search(words, found)


def test_open_gates_are_no_fault_at_the_start():
    """A posterior that starts at the prior is open everywhere."""
    assert collapse_of(KWARGS, 0.0, 1.0, at_end=False) is None


def broken(run: Path, folder: Path, change) -> Path:
    """A copy whose weights were changed."""
    shutil.copytree(run, folder)
    (checkpoint,) = folder.glob("*.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    change(content["state_dict"])
    torch.save(content, checkpoint)
    return folder


def test_diverged_model_is_called_so(healthy, images, tmp_path, capsys):
    def diverge(weights):
        weights["projector.0.weight"].fill_(torch.nan)

    run = broken(healthy, tmp_path / "run", diverge)
    image = next(images.glob("val/*/*.png"))
    for command in (["evaluate", str(run)], ["explain", str(run), "--image", str(image)]):
        assert main([*command, "--device", "cpu"]) == 0
        printed = capsys.readouterr()
        assert "The model diverged: projector.0.weight hold" in printed.err.splitlines()[0]
    assert "Its code is not finite: the model diverged." in printed.out
    with pytest.raises(InputError, match="not finite: the model diverged"):
        load_encoder(run).describe(image)


def test_load_encoder_warns_of_a_diverged_model(healthy, tmp_path, capsys):
    def diverge(weights):
        weights["backbone.conv1.weight"].fill_(torch.inf)

    with console_output():
        load_encoder(broken(healthy, tmp_path / "run", diverge))
    message = capsys.readouterr().err
    assert "is of a model that diverged: backbone.conv1.weight is not finite" in message


def test_features_that_overflow_are_called_diverged(healthy, images, tmp_path, capsys):
    """Weights as a learning rate of 1e8 has left them: finite, but every code is empty."""

    def overflow(weights):
        weights["projector.2.weight"].mul_(1e30)
        weights["projector.0.weight"].mul_(1e20)

    run = broken(healthy, tmp_path / "run", overflow)
    assert main(["evaluate", str(run), "--device", "cpu"]) == 0
    first, *_ = capsys.readouterr().err.splitlines()
    assert "of the codes are empty" in first or "The model diverged" in first


def test_equal_codes_of_all_images_are_called_collapsed(images, tmp_path, capsys):
    def collapse(weights):
        weights["projector.2.weight"].zero_()
        weights["projector.2.bias"].fill_(1)

    run = broken(pretrain(images, tmp_path / "out", method="simclr"), tmp_path / "run", collapse)
    capsys.readouterr()
    assert main(["evaluate", str(run), "--device", "cpu"]) == 0
    first, *_ = capsys.readouterr().err.splitlines()
    assert "The model collapsed: all images have the same code." in first
