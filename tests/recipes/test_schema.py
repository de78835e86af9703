"""What a recipe and a comparison may say: every wrong value becomes a line of one message."""

import inspect
import os
import re
from pathlib import Path

import pytest
from conftest import RECIPES
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from solo_bayesncl.adapters import adapter
from solo_bayesncl.comparison.config import ComparisonConfig, split_overrides
from solo_bayesncl.comparison.grids import expand_grid
from solo_bayesncl.errors import InputError, prefix_errors
from solo_bayesncl.recipes.compose import compose_recipe
from solo_bayesncl.recipes.method_kwargs import METHODS, fill_method_kwargs
from solo_bayesncl.recipes.overrides import apply, key_of, quote, read_text, split_arguments
from solo_bayesncl.recipes.own_keys import validate_with_own_keys
from solo_bayesncl.recipes.schema import LinearRecipe, PretrainRecipe
from solo_bayesncl.recipes.solo_learn_kwargs import check_solo_learn_kwargs
from solo_bayesncl.recipes.trainer_settings import TrainerSettings
from solo_bayesncl.recipes.validation import validate

WIDTHS = {"proj_hidden_dim": 8, "proj_output_dim": 4, "temperature": 1}
COMPARISON = {"methods": ["ncl"], "seeds": [0], "out": "out", "pretrain": "scripts/pretrain/demo"}


def recipe(*overrides: str, kind: str = "pretrain"):
    return compose_recipe(str(RECIPES / kind / "demo"), "ncl", list(overrides))


def message(model, values, prefix: str = "") -> str:
    with pytest.raises(InputError) as error:
        validate(model, values, prefix)
    return str(error.value)


def test_every_wrong_value_is_a_line_of_one_message():
    cfg = recipe("optimizer.lr=-1", "seed=1.5", "data.format=zip", "++augmentations.0.mean=[1]")
    assert message(PretrainRecipe, cfg).splitlines() == [
        "data.format='zip': give one of image_folder, dali, h5.",
        "optimizer.lr=-1: give a number of at least 0.",
        "seed=1.5: give an integer from 0 to 4294967295 or null.",
        "augmentations.0.mean=[1]: give three numbers from 0 to 1 or null.",
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("~optimizer.lr", "optimizer.lr is missing: give a number of at least 0."),
        ("optimizer.lr=null", "optimizer.lr is missing: give a number of at least 0."),
        ("data.train_path=???", "data.train_path is missing: give a path."),
        ("optimizer=null", "optimizer=None: give a section with name, batch_size, lr,"),
        ("max_epochs=True", "max_epochs=True: give an integer of at least 1."),
        ("max_epochs=2.0", "max_epochs=2.0: give an integer of at least 1."),
        ("optimizer.lr=nan", "optimizer.lr=nan: give a number of at least 0."),
        ("~scheduler", "scheduler.name is missing: give one of warmup_cosine, step, none."),
        ("~augmentations", "augmentations is missing: give a list with at least one entry."),
        ("++data.fraction=1", "data.fraction=1: give the share of the training images to use"),
    ],
)
def test_wrong_value_of_a_recipe_is_named(change, expected):
    assert message(PretrainRecipe, recipe(change)).startswith(expected)


def test_solo_learns_word_for_no_path_is_not_a_path():
    cfg = recipe("pretrained_feature_extractor='None'", kind="linear")
    assert message(LinearRecipe, cfg) == "pretrained_feature_extractor is missing: give a path."


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("++max_epoch=3", "max_epoch is not a setting of a recipe. Did you mean max_epochs?"),
        ("++batch_size=3", "batch_size is not a setting of a recipe. Did you mean optimizer.batch"),
        ("++optimizer.lrr=1", "optimizer.lrr is not a setting of optimizer. Did you mean optimiz"),
        ("++optimizer.beta=1", "optimizer.beta is not a setting of optimizer. Remove it. Its sett"),
        ("++augmentations.0.rrc.scale=1", "augmentations.0.rrc.scale is not a setting of augment"),
        ("++wandb.group=x", "wandb.group is not a setting of wandb. Remove it. Its settings are:"),
        ("++data.crop_size=8", "data.crop_size is not a setting of data. Did you mean augmentati"),
    ],
)
def test_misspelt_key_is_answered_with_the_nearest(change, expected):
    with pytest.raises(InputError) as error:
        validate_with_own_keys(PretrainRecipe, recipe(change))
    assert str(error.value).startswith(expected)


def test_misspelt_key_of_a_method_is_answered_with_the_nearest():
    expected = (
        "method_kwargs.temprature is not a setting of method: ncl_supcon. Did you mean "
        "method_kwargs.temperature? Its settings are: proj_hidden_dim, "
    )
    wrong = {**WIDTHS, "temprature": 1}
    assert message(METHODS["ncl_supcon"], wrong, "method_kwargs").startswith(expected)


@pytest.mark.parametrize("change", ["++mine.x=2", "++dataset_root=/data", "++crop_size=16"])
def test_a_key_of_ones_own_is_named_and_kept(change, caplog):
    """`crop_size` would be a slip, if the recipe had not the value: it may have it from there."""
    caplog.set_level("WARNING")  # Hydra raises that of the root
    cfg = recipe(change)
    assert validate_with_own_keys(PretrainRecipe, cfg).method == "ncl"
    key = change.lstrip("+").partition("=")[0].partition(".")[0]
    assert f"{key} is not a setting: only interpolations such as ${{{key}}} read" in caplog.text
    assert key in cfg


def test_settings_of_lightning_are_those_of_its_trainer():
    accepted = inspect.signature(adapter().pl.Trainer.__init__).parameters
    ours = {
        *("self", "logger", "callbacks", "plugins", "enable_checkpointing"),
        *("use_distributed_sampler", "replace_sampler_ddp", "resume_from_checkpoint"),
    }
    deprecated = {
        *("gpus", "tpu_cores", "ipus", "num_processes", "auto_select_gpus", "amp_backend"),
        *("amp_level", "auto_lr_find", "auto_scale_batch_size", "multiple_trainloader_mode"),
    }
    newer = {"enable_autolog_hparams", "model_registry"}
    assert accepted.keys() - TrainerSettings.model_fields.keys() <= ours | deprecated | newer


@pytest.mark.skipif("SOLO_LEARN_CHECKOUT" not in os.environ, reason="needs solo-learn's recipes")
@pytest.mark.parametrize("kind", ["pretrain", "linear", "finetune"])
def test_every_recipe_of_solo_learn_is_accepted(kind):
    scripts = Path(os.environ["SOLO_LEARN_CHECKOUT"], "scripts", kind)
    files = [path for path in scripts.glob("*/*.yaml") if "defaults" in path.read_text()]
    assert len(files) > 1
    for path in files:
        typed = [] if kind == "pretrain" else ["pretrained_feature_extractor=x"]
        cfg = compose_recipe(str(path.parent), path.stem, typed)
        if kind != "pretrain":
            validate_with_own_keys(LinearRecipe, cfg)
            continue
        validate_with_own_keys(PretrainRecipe, cfg)
        check_solo_learn_kwargs(cfg.get("method_kwargs") or {})


def test_interpolations_are_resolved_before_they_are_checked():
    cfg = OmegaConf.create({**WIDTHS, "topk_k": "${proj_output_dim}", "use_topk": True})
    assert validate(METHODS["ncl"], cfg).topk_k == 4


def test_filling_adds_defaults_and_keeps_what_is_given():
    cfg = OmegaConf.create({"method": "bayesncl", "method_kwargs": WIDTHS, "optimizer": {}})
    filled = fill_method_kwargs(cfg).method_kwargs
    assert type(filled.temperature) is int  # as given: a record shows what was typed
    assert filled.gate_type == "STE"
    assert cfg.optimizer.gating_head_lr is None
    assert list(filled) == list(METHODS["bayesncl"].model_fields)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"methods": []}, "methods=[]: give a list of names"),
        ({"methods": ["../x"]}, "methods=['../x']: give a list of names that folders can have"),
        ({"methods": ["ncl", "ncl"]}, "methods=['ncl', 'ncl']: one is named twice."),
        ({"seeds": [-1]}, "seeds=[-1]: give a list of integers from 0 to 4294967295"),
        ({"seeds": ["a"]}, "seeds=['a']: give a list of integers"),
        ({"out": None}, "out is missing: give the folder to write to (a file of your own begins"),
        ({"pretrain": None}, "pretrain is missing: give a folder of recipes"),
        ({"linear": 5}, "linear=5: give a folder of recipes or null."),
        ({"overrides": "x=1"}, "overrides='x=1': give a list of overrides, ['key=value',...]."),
        ({"evaluation": 5}, "evaluation=5: give a section with metadata, reference,"),
        ({"evaluation": {"workers": "two"}}, "evaluation.workers='two': give an integer"),
        ({"evaluation": {"metadata": 5}}, "evaluation.metadata=5: give a path or null."),
        ({"evaluation": {"speed": 1}}, "evaluation.speed is not a setting of evaluation. Remove"),
        ({"job": 3}, "job=3: give a section with method and seed."),
        ({"job": {"method": "ncl"}}, "job.method=ncl job.seed=None: give one of methods=['ncl']"),
        ({"variants": 3}, "variants=3: give a section with keys of its own."),
        ({"variants": {"x": 1}}, "variants.x=1: give a section with recipe and overrides."),
        ({"variants": {"x": {}}}, "variants.x.recipe is missing: give text."),
        ({"lr": 1}, "lr is not a setting of a comparison. What belongs to every recipe goes into"),
        ({"metods": 1}, "metods is not a setting of a comparison. Did you mean methods?"),
    ],
)
def test_wrong_value_of_a_comparison_is_named(change, expected):
    assert message(ComparisonConfig, {**COMPARISON, **change}).startswith(expected)


def test_one_method_and_one_seed_need_no_list_and_null_is_the_default():
    config = validate(ComparisonConfig, {**COMPARISON, "methods": "ncl", "seeds": 3, "job": None})
    assert (config.methods, config.seeds) == (["ncl"], [3])
    assert (config.job.method, config.overrides, config.linear) == (None, [], None)


@pytest.mark.parametrize("name", sorted(p.stem for p in (RECIPES / "compare").glob("*.yaml")))
def test_every_comparison_of_the_package_is_accepted(name):
    cfg = expand_grid(compose_recipe("scripts/compare", name, []))
    assert validate(ComparisonConfig, cfg).methods == list(cfg.methods)


def test_flags_and_overrides_may_alternate():
    arguments = ["out=x", "--config-na", "x=1", "--multi", "~optimizer.kwargs", "-c=job", "x=1"]
    flags, overrides, parsed = split_arguments("compare", arguments)
    assert flags == ["--cfg", "job", "--multirun", "--config-name", "x=1"]
    assert overrides == ["out=x", "~optimizer.kwargs", "x=1"]
    assert (parsed.config_name, parsed.multirun, parsed.config_path) == ("x=1", True, None)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--config-nme", "ncl"],
            "pretrain: unrecognized arguments: --config-nme. Did you mean --config-name? See",
        ),
        (["--config-name"], "argument --config-name/-cn: expected one argument."),
        (["--config-name", "a", "-cn", "b"], "--config-name is given twice"),
    ],
)
def test_wrong_flag_is_one_message(arguments, expected):
    with pytest.raises(InputError, match=re.escape(expected)):
        split_arguments("pretrain", arguments)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("optimizer.lr=0.1", "optimizer.lr"),
        ("++linear.a-b.0=[", "linear.a-b.0"),
        ("~optimizer.kwargs", "optimizer.kwargs"),
        ("hydra/launcher=joblib", "hydra/launcher"),
        ("+wandb@logger=x", "wandb"),
    ],
)
def test_key_of_an_override_whatever_its_value(override, key):
    assert key_of(override) == key


def test_what_is_not_an_override_is_refused():
    with pytest.raises(InputError, match="'optimizer lr=3' is not an override"):
        key_of("optimizer lr=3")


def test_overrides_of_a_comparison_are_sorted_by_what_they_are_for():
    assert split_overrides(
        [
            "out=x",
            "++linear.lr=1",
            "linear/wandb=mine",
            "seed=3",
            "hydra/launcher=joblib",
            "~momentum",
        ]
    ) == (
        ["out=x", "hydra/launcher=joblib"],
        ["seed=3", "~momentum"],
        ["++lr=1", "wandb=mine"],
    )


@given(st.text())
def test_quoted_text_is_read_back(text):
    assert OverridesParser.create().parse_override(f"name={quote(text)}").value() == text


TYPED = (
    *("it's a=folder [really]", "epoch=3,x.ckpt", "/a b/é", "[a]", "x", "a,b", "a;b", "a#b", "50%"),
    *("20240511", "0042", "1e-3", "true", "nan", "photos(1)", "C:\\x\\", "$a", "=x", "a\nb", "{a}"),
    *("<x>", '"', "a:b", "!", "\udcff", "(1)", "1_000", "2024-05-11"),
)


@pytest.mark.parametrize("text", TYPED)
@pytest.mark.parametrize("key", ["data.train_path", "name", "++wandb.entity"])
def test_text_is_taken_as_typed(key, text):
    cfg = recipe(f"{key}={text}")
    assert OmegaConf.select(cfg, key.lstrip("+")) == text


@pytest.mark.parametrize("text", TYPED)
def test_text_of_a_comparison_is_taken_as_typed(text):
    cfg = compose_recipe("scripts/compare", "demo", [f"out={text}"], (ComparisonConfig,))
    assert cfg.out == text


@pytest.mark.parametrize(
    "override",
    ["out='a=b'", "out=null", "lr=[a]", "~out", "lr=1,2", "out=${x}/y", "lr=a b", r"out=a\,b"],
)
def test_what_hydra_reads_as_text_or_may_read_otherwise_is_left_alone(override):
    assert read_text([override], [ComparisonConfig]) == [override]


def test_commas_sweep_over_text_if_there_is_a_sweep():
    assert read_text(["method=ncl,simclr"], sweep=True) == ["method=ncl,simclr"]
    assert read_text(["method=ncl,simclr"]) == ["method='ncl,simclr'"]


def test_what_hydra_cannot_read_is_refused_by_the_schema():
    assert message(PretrainRecipe, recipe("optimizer.lr=0,1é", "seed=[1")).splitlines() == [
        "optimizer.lr='0,1é': give a number of at least 0.",
        "seed='[1': give an integer from 0 to 4294967295 or null.",
    ]


@pytest.mark.parametrize("override", ["lr", "0.1", "a b=1", "=1"])
def test_what_is_no_override_is_named(override):
    with pytest.raises(InputError, match=rf"^'{override}' is not an override: give key=value"):
        read_text([override])


def test_overrides_are_applied_to_a_record():
    cfg = OmegaConf.create({"optimizer": {"lr": 1, "kwargs": {"eta": 2}}, "data": {}, "seed": 3})
    overrides = ["optimizer.lr=2", "++data.train_path=2024,é", "~optimizer.kwargs", "~seed"]
    apply(cfg, overrides)
    assert cfg == {"optimizer": {"lr": 2}, "data": {"train_path": "2024,é"}}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("lr", "'lr' is not an override"),
        ("optimizer.lr=1,2", "'optimizer.lr=1,2' has several values: give one."),
        ("~optimizer.nope", "'~optimizer.nope' cannot be put into the settings: "),
        ("augmentations.7.crop_size=1", "'augmentations.7.crop_size=1' cannot be put into the "),
    ],
)
def test_what_cannot_be_applied_to_a_record_is_named(override, expected):
    cfg = OmegaConf.create({"optimizer": {"lr": 1}, "augmentations": []})
    with pytest.raises(InputError, match=f"^{re.escape(expected)}"):
        apply(cfg, [override])


def test_errors_say_what_they_are_about():
    with pytest.raises(InputError, match=r"^linear: wrong$"), prefix_errors("linear"):
        raise InputError("wrong")


def test_home_folder_in_a_path_is_expanded(monkeypatch):
    """A shell does not expand it behind `key=`, and a folder named `~` is dangerous to remove."""
    monkeypatch.setenv("HOME", "/home/a b")
    assert read_text(["checkpoint.dir=~/runs", "name=~x"]) == [
        "checkpoint.dir='/home/a b/runs'",
        "name='~x'",
    ]
