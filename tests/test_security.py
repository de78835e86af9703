"""No file runs code. Every attack here works where it is not prevented: it makes a folder."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError

import pytest
import safetensors.torch
import torch
from conftest import RECIPES, only_run, tiny
from omegaconf import OmegaConf
from safetensors import safe_open
from torch import nn
from torchvision.datasets import CIFAR10, CIFAR100

import solo_bayesncl
from solo_bayesncl.__main__ import main
from solo_bayesncl.adapters import adapter
from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes.trust import check_file
from solo_bayesncl.training import run_folder
from solo_bayesncl.training.checkpoint_io import CheckpointIO

pytestmark = pytest.mark.usefixtures("narrow_backbone")

REFUSED = "a recipe's file may not decide what Hydra runs"


@pytest.fixture(autouse=True)
def unprotected(monkeypatch, tmp_path):
    """Where torch's default is not to protect: nothing may rely on it.

    In a folder of its own: Hydra's own settings write to the current one.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")


@pytest.fixture
def trap(tmp_path):
    """A folder that only an attack makes."""
    path = tmp_path / "trap"
    yield path
    assert not path.exists(), "code from a file was run"


class Attack:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


def pretrain(images: Path, out: Path, *overrides: str) -> list[str]:
    recipe = ["--config-path", str(RECIPES / "pretrain/custom"), "--config-name", "bayesncl"]
    return ["pretrain", *recipe, *tiny(images, out, *overrides)]


@pytest.fixture(scope="module")
def trained(narrow_backbone, images, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    assert main(pretrain(images, out)) == 0
    return only_run(out, "bayesncl")


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A copy, to be attacked, where training and automatic resumption look for it."""
    return shutil.copytree(trained, tmp_path / "runs/bayesncl" / trained.name)


# Checkpoints


def nested(key: str) -> Callable:
    def write(path: Path, content: dict, attack: Attack) -> None:
        inner = content.get(key) or {}
        inner = {**inner, "x": attack} if isinstance(inner, dict) else [*inner, attack]
        torch.save(content | {key: inner}, path)

    return write


def raw(path: Path, content: dict, attack: Attack) -> None:
    path.write_bytes(pickle.dumps({"state_dict": {}, "x": attack}))


def legacy(path: Path, content: dict, attack: Attack) -> None:
    torch.save(content | {"x": attack}, path, _use_new_zipfile_serialization=False)


def script(path: Path, content: dict, attack: Attack) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(1, 1)), path)


def package(path: Path, content: dict, attack: Attack) -> None:
    with torch.package.PackageExporter(path) as exporter:
        exporter.extern("**")
        exporter.save_pickle("model", "model.pkl", {"x": 1})


WAYS = {
    "beside the weights": nested("x"),
    "in the weights": nested("state_dict"),
    "in the optimizer's state": nested("optimizer_states"),
    "in the settings": nested("hyper_parameters"),
    "in a callback's state": nested("callbacks"),
    "raw pickle": raw,
    "legacy format": legacy,
    "TorchScript": script,
    "torch.package": package,
}


def planted(run: Path, way: str, trap: Path) -> Path:
    """The run's checkpoint, with an attack in it."""
    (checkpoint,) = run.glob("*.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    WAYS[way](checkpoint, content, Attack(trap))
    return checkpoint


def test_the_attacks_are_real(run, tmp_path):
    for way in list(WAYS)[:7]:
        folder = shutil.copytree(run, tmp_path / way)
        with suppress(RuntimeError):  # a raw pickle is refused after its first object
            torch.load(planted(folder, way, tmp_path / f"of {way}"))
        assert (tmp_path / f"of {way}").exists(), way


@pytest.mark.parametrize("way", WAYS)
def test_no_command_runs_code_of_a_checkpoint(images, run, tmp_path, trap, capsys, way):
    checkpoint = planted(run, way, trap)
    linear = ["--config-path", str(RECIPES / "linear/custom"), "--config-name", "bayesncl",
              f"data.train_path={images}/train", f"data.val_path={images}/val",
              f"pretrained_feature_extractor={run}"]  # fmt: skip
    export = ["--format", "safetensors", "--out", str(tmp_path / "out.safetensors")]
    for command in (
        ["evaluate", str(run), "--device", "cpu"],
        ["evaluate", str(checkpoint), "--device", "cpu"],
        ["explain", str(run), "--device", "cpu"],
        ["export", str(run), *export],
        ["linear", *linear],
        pretrain(images, tmp_path / "new", f"resume_from_checkpoint={checkpoint}", "max_epochs=2"),
    ):
        assert main(command) == 2, command
        assert f"{checkpoint} cannot be read as a checkpoint: " in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        solo_bayesncl.load_encoder(run)
    assert main(["import", str(checkpoint), "--out", str(tmp_path / "imported")]) in (0, 2)


@pytest.mark.parametrize("way", ["beside the weights", "raw pickle", "legacy format"])
def test_automatic_resumption_runs_no_code_of_a_newer_checkpoint(images, run, tmp_path, trap, way):
    """It names the planted file or passes it over."""
    (good,) = run.glob("*.ckpt")
    newer = good.with_name(good.name.replace("ep=0", "ep=7"))
    content = torch.load(good, weights_only=True)
    WAYS[way](newer, content, Attack(trap))
    assert main(pretrain(images, run.parents[1])) in (0, 2)


def test_checkpoint_that_is_exchanged_after_the_check_is_not_read(
    images, run, tmp_path, trap, monkeypatch
):
    (checkpoint,) = run.glob("*.ckpt")
    check = run_folder._require_training_state

    def then_exchange(*settings):
        step = check(*settings)
        planted(run, "beside the weights", trap)
        return step

    monkeypatch.setattr(run_folder, "_require_training_state", then_exchange)
    resume = [f"resume_from_checkpoint={checkpoint}", "max_epochs=2"]
    assert main(pretrain(images, tmp_path / "new", *resume)) == 0


def test_lightning_itself_would_run_it(run, tmp_path):
    checkpoint = planted(run, "beside the weights", tmp_path / "hit")
    with pytest.raises(InputError):
        CheckpointIO().load_checkpoint(checkpoint)
    assert not (tmp_path / "hit").exists()
    adapter().pl.plugins.io.TorchCheckpointIO().load_checkpoint(checkpoint)
    assert (tmp_path / "hit").exists()


@pytest.mark.parametrize("way", ["raw pickle", "legacy format", "beside the weights"])
def test_weights_of_a_reference_run_no_code(run, tmp_path, trap, capsys, way):
    weights = tmp_path / "reference.pth"
    WAYS[way](weights, {}, Attack(trap))
    reference = ["--reference", "resnet10t", "--reference-weights", str(weights)]
    assert main(["evaluate", str(run), "--device", "cpu", *reference]) == 2
    assert f"--reference-weights {weights} cannot be loaded" in capsys.readouterr().err


# Records


def change_record(run: Path, key: str, value: object) -> None:
    record = json.loads((run / "args.json").read_text())
    cfg = OmegaConf.create(record)
    OmegaConf.update(cfg, key, value, force_add=True)
    (run / "args.json").write_text(json.dumps(OmegaConf.to_container(cfg)))


@pytest.mark.parametrize("text", ["${oc.env:SECRET}", "a${oc.decode:x}", "${${wandb.x}:SECRET}"])
def test_record_does_not_read_the_machine(run, capsys, monkeypatch, text):
    monkeypatch.setenv("SECRET", "secret word")
    change_record(run, "wandb.x", "oc.env")
    change_record(run, "name", text)
    assert main(["evaluate", str(run), "--device", "cpu"]) == 2
    message = capsys.readouterr().err
    assert f"name={text} would be looked up on this machine. Replace it" in message
    assert "secret word" not in message


def test_exported_record_does_not_read_the_machine(run, tmp_path):
    out = tmp_path / "encoder.safetensors"
    assert main(["export", str(run), "--format", "safetensors", "--out", str(out)]) == 0
    with safe_open(out, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    settings = json.loads(metadata["settings"]) | {"name": "${oc.env:HOME}"}
    safetensors.torch.save_file(weights, out, metadata | {"settings": json.dumps(settings)})
    with pytest.raises(InputError, match="name=.*would be looked up on this machine"):
        solo_bayesncl.load_encoder(out)


def test_reference_to_another_setting_of_a_record_is_resolved(run):
    change_record(run, "name", "${method}-${seed}")
    assert solo_bayesncl.load_encoder(run).settings["name"] == "bayesncl-5"


def test_run_records_the_value_of_an_environment_variable(images, tmp_path, monkeypatch):
    """So that its record is complete elsewhere."""
    monkeypatch.setenv("LAB_NAME", "of the lab")
    assert main(pretrain(images, tmp_path, "name=${oc.env:LAB_NAME}")) == 0
    record = json.loads((only_run(tmp_path, "bayesncl") / "args.json").read_text())
    assert record["name"] == "of the lab"


@pytest.mark.usefixtures("whole_backbone")
@pytest.mark.parametrize("name", ["resnet18", "vit_tiny"])
@pytest.mark.parametrize(
    "kwargs",
    [
        {"pretrained": True, "pretrained_cfg": {"file": "WEIGHTS"}},
        {"checkpoint_path": "WEIGHTS"},
        {"pretrained_cfg": {"file": "WEIGHTS"}, "pretrained_strict": False},
        {"weights": "WEIGHTS"},
        {"_target_": "os.mkdir", "path": "TRAP"},
    ],
)
def test_backbone_of_a_record_loads_no_file(run, tmp_path, trap, name, kwargs):
    weights = tmp_path / "weights.pth"
    raw(weights, {}, Attack(trap))
    text = json.dumps(kwargs).replace("WEIGHTS", str(weights)).replace("TRAP", str(trap))
    change_record(run, "backbone", {"name": name, "kwargs": json.loads(text)})
    assert main(["evaluate", str(run), "--device", "cpu"]) == 2


# Recipes

CALLED = {"()": "os.mkdir", "path": "TRAP"}
LOGGING = {"version": 1, "formatters": {"x": CALLED}, "root": {"handlers": []}}
CALLBACK = {"x": {"_target_": "numpy.savetxt", "fname": "TRAP", "X": [1]}}
EVIL_RECIPES = {
    "callback": ({}, {"hydra": {"callbacks": CALLBACK}}),
    "logging of jobs": ({}, {"hydra": {"job_logging": LOGGING}}),
    "logging of Hydra": ({}, {"hydra": {"hydra_logging": LOGGING}}),
    "launcher": ({}, {"hydra": {"launcher": {"setup": ["touch TRAP"]}}}),
    "sweeper": ({}, {"hydra": {"sweeper": {"sampler": {"_target_": "os.mkdir"}}}}),
    "environment": ({}, {"hydra": {"job": {"env_set": {"LD_PRELOAD": "evil.so"}}}}),
    "package": ({}, {"hydra": {"searchpath": ["pkg://evil"]}}),
    "sweep over Hydra's settings": (
        {},
        {"hydra": {"sweeper": {"params": {"hydra.job_logging.root": "1,2"}}}},
    ),
    "reference": ({}, {"hydra": "${inner}", "inner": {"callbacks": CALLBACK}}),
    "option of Hydra's group": (
        {"hydra/job_logging/evil.yaml": LOGGING},
        {"defaults": ["_self_", {"override hydra/job_logging": "evil"}]},
    ),
    "folder named like a package": (
        {"hydra.job_logging/evil.yaml": LOGGING},
        {"defaults": [{"hydra.job_logging": "evil"}, "_self_"]},
    ),
    "package in the defaults list": (
        {"log/evil.yaml": LOGGING},
        {"defaults": [{"log@hydra.job_logging": "evil"}, "_self_"]},
    ),
    "global package": (
        {"log/evil.yaml": {"hydra": {"job_logging": LOGGING}}},
        {"defaults": [{"log@_global_": "evil"}, "_self_"]},
    ),
}


def write_recipe(folder: Path, files: dict, recipe: dict, trap: Path) -> list[str]:
    """The arguments that name a recipe of a folder."""
    for name, content in {**files, "evil.yaml": recipe}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(content).replace("TRAP", str(trap))  # JSON is YAML
        (folder / name).write_text(text)
    return ["--config-path", str(folder), "--config-name", "evil"]


@pytest.mark.parametrize("command", ["pretrain", "linear", "compare"])
@pytest.mark.parametrize("way", EVIL_RECIPES)
def test_recipe_runs_no_code(tmp_path, trap, capsys, way, command):
    recipe = write_recipe(tmp_path / "recipes", *EVIL_RECIPES[way], trap)
    for more in ([], ["--multirun", "+a=1,2"]) if command == "pretrain" else ([],):
        assert main([command, *recipe, *more]) == 2
        assert REFUSED in capsys.readouterr().err
        assert not trap.exists()


@pytest.mark.parametrize("header", ["hydra.job_logging", "_global_.hydra.job_logging"])
def test_package_line_of_a_recipe_runs_no_code(tmp_path, trap, capsys, header):
    defaults = {"defaults": [{"log": "evil"}, "_self_"]}
    recipe = write_recipe(tmp_path, {"log/evil.yaml": LOGGING}, defaults, trap)
    evil = tmp_path / "log/evil.yaml"
    evil.write_text(f"# @package {header}\n{evil.read_text()}")
    assert main(["pretrain", *recipe]) == 2
    assert f"log/evil has # @package {header}: {REFUSED}" in capsys.readouterr().err


def test_folder_that_a_recipe_adds_is_checked_too(tmp_path, trap, capsys):
    other = tmp_path / "other"
    write_recipe(other, {"log/evil.yaml": {"hydra": {"job_logging": LOGGING}}}, {}, trap)
    content = {
        "defaults": [{"log@_global_": "evil"}, "_self_"],
        "hydra": {"searchpath": [f"file://{other}"]},
    }
    recipe = write_recipe(tmp_path / "recipes", {}, content, trap)
    assert main(["pretrain", *recipe]) == 2
    assert f"{other}/log/evil has hydra.job_logging: {REFUSED}" in capsys.readouterr().err


def test_option_that_only_a_sweep_chooses_is_checked(tmp_path, trap, capsys):
    files = {"log/good.yaml": {}, "log/evil.yaml": {"hydra": {"job_logging": LOGGING}}}
    content = {"defaults": [{"log@_global_": "good"}, "_self_"]}
    recipe = write_recipe(tmp_path, files, content, trap)
    assert main(["pretrain", *recipe, "--multirun", "log@_global_=evil,good"]) == 2
    assert REFUSED in capsys.readouterr().err


def test_what_the_command_line_names_is_trusted(tmp_path, capsys):
    """The callback of a folder of --config-dir is called."""
    hit = tmp_path / "hit"
    write_recipe(tmp_path / "mine", {"mine/own.yaml": {"hydra": {"callbacks": CALLBACK}}}, {}, hit)
    recipe = write_recipe(tmp_path / "recipes", {}, {"name": "x"}, hit)
    own = ["--config-dir", str(tmp_path / "mine"), "+mine@_global_=own"]
    assert main(["pretrain", *recipe, *own]) == 2
    assert "optimizer.name is missing" in capsys.readouterr().err
    assert hit.exists()


@pytest.mark.parametrize(
    "section",
    [
        {"output_subdir": None, "run": {"dir": "."}, "sweep": {"dir": "x", "subdir": "y"}},
        {"sweeper": {"params": {"optimizer.lr": "0.1,0.2"}}, "mode": "MULTIRUN"},
        {"launcher": {"n_jobs": 2, "timeout_min": 600}},
        {"job": {"chdir": False, "name": "x"}},
    ],
)
def test_plain_settings_of_hydra_are_accepted(section):
    check_file(OmegaConf.create({"hydra": section}), {"package": None}, "recipe.yaml")


# Data sets


@pytest.mark.usefixtures("whole_backbone")
@pytest.mark.parametrize("dataset", [CIFAR10, CIFAR100])
def test_pickles_of_cifar_are_not_loaded(tmp_path, trap, capsys, monkeypatch, dataset):
    def offline(*args, **kwargs):
        raise URLError("offline")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    folder = tmp_path / "data" / dataset.base_folder
    folder.mkdir(parents=True)
    files = [name for name, _ in dataset.train_list + dataset.test_list]
    for name in [*files, dataset.meta["filename"]]:
        (folder / name).write_bytes(pickle.dumps(Attack(trap)))
    name = dataset.__name__.lower()
    data = [f"data.dataset={name}", f"data.train_path={folder.parent}", "data.val_path=null"]
    assert main(pretrain(tmp_path, tmp_path / "out", *data)) == 2
    assert f"data.dataset={name} is neither in" in capsys.readouterr().err


@pytest.mark.usefixtures("whole_backbone")
def test_names_of_cifar_are_not_loaded(cifar10, tmp_path, trap, capsys, monkeypatch):
    """The pictures are whole, so nothing is downloaded; the names of the classes are exchanged."""
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": "0" * 32})
    (cifar10 / CIFAR10.base_folder / "batches.meta").write_bytes(pickle.dumps(Attack(trap)))
    data = ["data.dataset=cifar10", f"data.train_path={cifar10}", f"data.val_path={cifar10}"]
    assert main(pretrain(tmp_path, tmp_path / "out", *data)) == 2
    assert "data.dataset=cifar10 is neither in" in capsys.readouterr().err
