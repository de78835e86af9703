"""Recipes: each composes to the settings on record, in our commands and in solo-learn's scripts."""

import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import RECIPES
from omegaconf import OmegaConf
from recipe_snapshot import composed, flat, folders, read
from their_programs import last_line, on_main, python, write

from solo_bayesncl import adapters
from solo_bayesncl.__main__ import main
from solo_bayesncl.comparison.grids import Grid, variants_of
from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes.compose import compose_recipe
from solo_bayesncl.recipes.search_path import PRESET, recipe_names
from solo_bayesncl.runs import Run

EVERY_RECIPE = [(folder, typed) for folder in folders() for typed in read(folder)]
OF_A_DATA_SET = [(folder, typed) for folder, typed in EVERY_RECIPE if folder != "compare"]

# solo-learn main's own folders of the names of ours, and what they hold
THEIR_FOLDERS = (
    "pretrain/cifar",
    "pretrain/imagenet-100",
    "pretrain/custom",
    "linear/imagenet-100",
)
THEIR_FILES = (
    *("simclr", "byol", "barlow", "mocov2plus", "mocov3", "mocov3_vit", "nnclr", "supcon"),
    *("augmentations/symmetric", "augmentations/asymmetric", "augmentations/symmetric_weak"),
    *("wandb/private", "wandb/mhug"),
)

# as solo-learn's main_pretrain.py and main_linear.py: Hydra, and the methods imported before
THEIR_PROGRAM = """
import json, sys
import hydra
from omegaconf import OmegaConf
from solo.methods import METHODS

composed = []

@hydra.main(version_base="1.2")
def main(cfg):
    composed.append(OmegaConf.to_container(cfg))

for folder, typed in json.loads(sys.argv[1]):
    name, *overrides = typed.split()
    sys.argv[1:] = ["--config-path", folder, "--config-name", name, *overrides]
    main()
print(json.dumps(composed))
"""


def text(settings: dict) -> str:
    """As JSON, in which 1, 1.0 and True differ."""
    return json.dumps(settings, sort_keys=True, indent=1)


def composed_in_their_program(recipes: list[tuple[Path, str]], folder: Path) -> list[dict]:
    script = write(folder / "program.py", THEIR_PROGRAM)
    arguments = json.dumps([(str(path), typed) for path, typed in recipes])
    return last_line(python(script, arguments, cwd=folder))


@pytest.fixture(scope="module")
def their_scripts(tmp_path_factory) -> Path:
    """A checkout's `scripts/`: files of solo-learn's names, with a foreign value in each."""
    scripts = tmp_path_factory.mktemp("checkout") / "scripts"
    for folder in THEIR_FOLDERS:
        for name in THEIR_FILES:
            write(scripts / folder / f"{name}.yaml", "name: theirs\n")
    return scripts


@pytest.mark.parametrize(
    ("folder", "typed"), EVERY_RECIPE, ids=["-".join(recipe) for recipe in EVERY_RECIPE]
)
def test_a_recipe_composes_to_the_settings_on_record(folder, typed):
    assert text(composed(folder, typed)) == text(read(folder)[typed])


@pytest.mark.parametrize("folder", folders())
def test_a_folder_has_the_recipes_on_record(folder):
    assert recipe_names(RECIPES / folder) == sorted(t for t in read(folder) if " " not in t)


@on_main
def test_a_recipe_means_the_same_in_their_program(tmp_path):
    found = composed_in_their_program([(RECIPES / f, t) for f, t in OF_A_DATA_SET], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["program.py"]  # no outputs of Hydra's
    for (folder, typed), settings in zip(OF_A_DATA_SET, found, strict=True):
        assert text(flat(settings)) == text(read(folder)[typed]), (folder, typed)


@on_main
def test_a_recipe_means_the_same_beside_theirs(their_scripts):
    """Not one value of theirs gets into ours, although their folder is searched first."""
    recipes = [
        (folder, typed)
        for folder, typed in OF_A_DATA_SET
        if folder not in THEIR_FOLDERS
        or (typed not in THEIR_FILES and not typed.endswith("augmentations=asymmetric"))
    ]
    theirs = (their_scripts / "pretrain/cifar", "simclr")
    mine = write(
        their_scripts / "pretrain/imagenet-100/mine.yaml",
        "defaults: [bayesncl_vit, _self_]\nname: mine\n",
    )
    paths = [*((their_scripts / f, t) for f, t in recipes), theirs, (mine.parent, "mine")]
    *ours, theirs, mine = composed_in_their_program(paths, their_scripts.parent)
    for (folder, typed), settings in zip(recipes, ours, strict=True):
        assert text(flat(settings)) == text(read(folder)[typed]), (folder, typed)
    assert theirs == {"name": "theirs"}
    assert flat(mine) == read("pretrain/imagenet-100")["bayesncl_vit"] | {"name": "mine"}


@on_main
def test_a_run_of_a_sweep_of_theirs_is_opened_with_the_same_settings(tmp_path):
    """In the jobs of --multirun, the presets stay in the settings that solo-learn records."""
    arguments = (RECIPES / "pretrain/cifar", "ncl_topk --multirun seed=5")
    (settings,) = composed_in_their_program([arguments], tmp_path)
    assert settings["method_kwargs"]["topk_k"] == f"${{{PRESET}.topk_k}}"
    write(tmp_path / "run/a-ep=0.ckpt", "")
    write(tmp_path / "run/args.json", json.dumps(settings))
    cfg = Run.open(tmp_path / "run").cfg
    del cfg[PRESET]
    assert flat(OmegaConf.to_container(cfg)) == read("pretrain/cifar")["ncl_topk"]


def test_no_recipe_builds_upon_a_name_of_theirs():
    """What the test above shows of some names, for all of a checkout's if there is one."""
    theirs = {*THEIR_FILES}
    for folder in THEIR_FOLDERS if "SOLO_LEARN_CHECKOUT" in os.environ else ():
        checkout = Path(os.environ["SOLO_LEARN_CHECKOUT"], "scripts", folder)
        theirs |= {str(p.relative_to(checkout).with_suffix("")) for p in checkout.rglob("*.y*ml")}
    for path in (path for kind in ("pretrain", "linear") for path in (RECIPES / kind).rglob("*")):
        content = OmegaConf.load(path) if path.is_file() else {}
        for entry in content.get("defaults", []) if OmegaConf.is_dict(content) else []:
            names = [*entry.values()] if OmegaConf.is_dict(entry) else [entry]
            group = next(iter(entry)) if OmegaConf.is_dict(entry) else ""
            in_group = f"{group.removeprefix('override ').lstrip('/')}/" if group else ""
            for name in names:
                assert f"{in_group}{name.removesuffix('.yaml')}" not in theirs, path


@pytest.mark.parametrize("kind", ["pretrain", "linear"])
def test_a_copy_of_a_data_set_folder_is_another_data_set(tmp_path, kind):
    """Wherever it lies and whatever its name; the rest comes from the installed package."""
    mine = tmp_path / "mine"
    shutil.copytree(RECIPES / kind / "custom", mine)
    base = mine / "base/solo_bayesncl.yaml"
    base.write_text(base.read_text().replace('name: "custom"', 'name: "mine"'))
    expected = read(f"{kind}/custom")["bayesncl"]
    expected |= {"name": expected["name"].replace("custom", "mine")}
    cfg = compose_recipe(str(mine), "bayesncl", [])
    assert flat(OmegaConf.to_container(cfg)) == expected
    if adapters.scripts_use_hydra():
        (settings,) = composed_in_their_program([(mine, "bayesncl")], tmp_path)
        assert flat(settings) == expected


def test_a_copy_with_the_old_name_of_the_presets_is_told_the_new_one(tmp_path):
    mine = shutil.copytree(RECIPES / "pretrain/custom", tmp_path / "mine")
    base = mine / "base/solo_bayesncl.yaml"
    base.write_text(base.read_text().replace(f"{PRESET}:", "preset:"))
    with pytest.raises(InputError, match=f"`preset` of .* is now called `{PRESET}`: rename"):
        compose_recipe(str(mine), "bayesncl", [])


def test_a_section_of_ones_own_named_preset_is_left_alone(tmp_path):
    mine = shutil.copytree(RECIPES / "pretrain/demo", tmp_path / "mine")
    write(mine / "mine.yaml", "defaults: [ncl, _self_]\npreset: {k: 3}\nname: a-${preset.k}\n")
    cfg = compose_recipe(str(mine), "mine", [])
    assert (cfg.preset, cfg.name) == ({"k": 3}, "a-3")


def test_a_file_of_ones_own_builds_on_a_recipe(tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(RECIPES / "pretrain/demo", mine)
    write(mine / "mine.yaml", "defaults: [ncl_glyphs, _self_]\nname: own-${method}\n")
    cfg = compose_recipe(str(mine), "mine", ["method_kwargs.topk_k=3"])
    assert flat(OmegaConf.to_container(cfg)) == read("pretrain/demo")["ncl_glyphs"] | {
        "name": "own-ncl",
        "method_kwargs.topk_k": 3,
    }


def test_our_own_commands_search_only_the_folder_that_they_are_given(tmp_path):
    """And what it shares with others, if it is a data set's."""
    write(tmp_path / "pretrain/cifar/mine.yaml", "a: 1\n")
    folder = str(tmp_path / "pretrain/cifar")
    assert compose_recipe(folder, "mine", []) == {"a": 1}
    with pytest.raises(InputError, match="--config-name bayesncl: .* It has mine"):
        compose_recipe(folder, "bayesncl", [])


@pytest.mark.parametrize("name", ["baysncl", "baysncl.yaml"])
def test_a_wrong_name_is_answered_with_the_names_that_there_are(name, capsys):
    assert main(["pretrain", "--config-path", "scripts/pretrain/cifar", "--config-name", name]) == 2
    message = capsys.readouterr().err
    assert "--config-name baysncl" in message
    assert "barlow_twins, bayesncl, bayesncl_gs, bayesncl_mocov2plus" in " ".join(message.split())


def test_the_folder_of_what_data_sets_share_is_not_one_of_recipes():
    with pytest.raises(InputError, match="not a folder of recipes.* scripts/pretrain/cifar, "):
        compose_recipe(str(RECIPES / "pretrain"), "bayesncl", [])


def test_a_recipe_is_shown_as_composed(capsys):
    recipe = ["--config-path", "scripts/pretrain/cifar", "--config-name", "ncl_topk"]
    assert main(["pretrain", *recipe, "--cfg", "job", "--resolve"]) == 0
    shown = OmegaConf.create(capsys.readouterr().out)
    del shown[PRESET]
    assert flat(OmegaConf.to_container(shown)) == read("pretrain/cifar")["ncl_topk"]


def test_cifar_recipe_has_the_official_settings():
    cfg = compose_recipe(str(RECIPES / "pretrain/cifar"), "bayesncl", [])
    assert (cfg.method_kwargs.proj_hidden_dim, cfg.method_kwargs.proj_output_dim) == (2048, 256)
    assert cfg.method_kwargs.temperature == 0.2
    assert cfg.method_kwargs.non_neg == "rep_relu"
    assert cfg.method_kwargs.bayesian_prior_prob == 0.8
    assert cfg.method_kwargs.bayesian_kl_lambda == 3e-5
    assert (cfg.optimizer.lr, cfg.optimizer.classifier_lr, cfg.optimizer.gating_head_lr) == (
        0.4,
        0.1,
        0.1,
    )
    assert cfg.optimizer.kwargs == {"clip_lr": True, "eta": 0.02, "exclude_bias_n_norm": True}
    assert (cfg.optimizer.batch_size, cfg.max_epochs, cfg.precision) == (256, 200, "16-mixed")


def test_imagenet100_recipe_has_the_official_settings():
    cfg = compose_recipe(str(RECIPES / "pretrain/imagenet-100"), "bayesncl", [])
    assert (cfg.method_kwargs.proj_hidden_dim, cfg.method_kwargs.proj_output_dim) == (16384, 2048)
    assert cfg.method_kwargs.non_neg == "relu"
    assert (cfg.optimizer.batch_size, cfg.optimizer.lr, cfg.max_epochs) == (128, 0.3, 100)
    assert cfg.data.format == "dali"


@pytest.mark.parametrize("folder", [name for name in folders() if name.startswith("pretrain")])
def test_wide_ncl_is_ncl_with_twice_the_dimensions(folder):
    ncl, wide = read(folder)["ncl"], read(folder)["ncl_wide"]
    changed = {key for key in ncl | wide if ncl.get(key) != wide.get(key)}
    assert changed == {"name", "method_kwargs.proj_output_dim"}
    assert wide["method_kwargs.proj_output_dim"] == 2 * ncl["method_kwargs.proj_output_dim"]


def test_a_grid_is_every_combination_of_its_values_as_they_are_written():
    grid = {
        "recipe": "ncl",
        "name": "lr_{lr}",
        "overrides": ["++optimizer.lr=3e-5,0.10", "devices=[0,1]"],
    }
    assert variants_of(Grid(**grid)) == {
        f"lr_{lr}": {"recipe": "ncl", "overrides": [f"++optimizer.lr={lr}", "devices=[0,1]"]}
        for lr in ("3e-5", "0.10")
    }
