"""What Lightning and solo-learn raise becomes one message; a note is printed once a command."""

import inspect

import pytest
from conftest import RECIPES
from omegaconf import OmegaConf

from solo_bayesncl.adapters import adapter
from solo_bayesncl.console import console_output
from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes import fit_to_machine
from solo_bayesncl.recipes.compose import compose_recipe
from solo_bayesncl.training.environment import (
    check_release,
    model_errors_as_input_errors,
    trainer_errors_as_input_errors,
)


@pytest.fixture
def recipe():
    return compose_recipe(str(RECIPES / "pretrain/demo"), "ncl", [])


def test_setting_of_another_lightning_is_refused(recipe):
    accepted = inspect.signature(adapter().pl.Trainer.__init__).parameters
    (lacking, *_) = {"barebones", "track_grad_norm"} - accepted.keys()
    recipe[lacking] = 1
    with pytest.raises(InputError, match=f"^{lacking}=1: Lightning .* has no such setting"):
        check_release(recipe)


def test_what_the_trainer_refuses_is_one_message():
    refused = pytest.raises(InputError, match="^Lightning refuses the settings of its Trainer: ")
    with refused, trainer_errors_as_input_errors():
        adapter().pl.Trainer(profiler="stopwatch", logger=False, enable_checkpointing=False)


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, OverflowError, KeyError, TypeError])
def test_what_a_model_refuses_is_one_message(recipe, error):
    about = "The model cannot be built from backbone.kwargs=None"
    refused = pytest.raises(InputError, match=f"^{about}")
    with refused, model_errors_as_input_errors(recipe):
        raise error("too wide")


def test_a_note_is_printed_once_in_a_command(capsys):
    cfg = OmegaConf.create({"accelerator": "cpu", "precision": "16-mixed"})
    for _ in range(2):
        with console_output():
            fit_to_machine(cfg.copy())
            fit_to_machine(cfg.copy())
    assert capsys.readouterr().err.count("runs as bf16-mixed on the CPU") == 2
