"""Checkpoints of the official code become runs that the other commands take."""

import builtins
import collections
import json
import os
import pathlib
import shutil

import pytest
import torch
import torch.nn.functional as F
import torchvision
from conftest import GOLDEN, RECIPES, golden_case, tiny
from omegaconf import OmegaConf
from PIL import Image
from torch import nn

import solo_bayesncl
from solo_bayesncl import runs
from solo_bayesncl.__main__ import main
from solo_bayesncl.errors import InputError
from solo_bayesncl.evaluation import encoding as evaluation
from solo_bayesncl.evaluation.options import Options
from solo_bayesncl.runs.models import encode_outputs
from solo_bayesncl.sharing.official import OfficialCheckpoint

CUSTOM = ["--config-path", str(RECIPES / "pretrain/custom"), "--config-name"]
CIFAR = ["--config-path", str(RECIPES / "pretrain/cifar"), "--config-name"]


def head(hidden=32, dims=16):
    return nn.Sequential(nn.Linear(512, hidden), nn.ReLU(), nn.Linear(hidden, dims))


def official_model(gate=True, cifar=False, classes=6) -> nn.ModuleDict:
    """The parts of an official model, built with torchvision and torch alone."""
    torch.manual_seed(0)
    backbone = torchvision.models.resnet18()
    backbone.fc = nn.Identity()
    if cifar:
        backbone.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=2, bias=False)
        backbone.maxpool = nn.Identity()
    parts = {"backbone": backbone, "classifier": nn.Linear(512, classes), "projector": head()}
    if gate:
        parts["gating_head"] = head()
    return nn.ModuleDict(parts).eval()


def save(model: nn.ModuleDict, path: pathlib.Path, epoch=0, **more) -> pathlib.Path:
    """What Lightning of 2022 saves, settings of omegaconf among it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    content = {
        "epoch": epoch,
        "global_step": 12345,
        "pytorch-lightning_version": "1.7.7",
        "state_dict": model.state_dict(),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 1}}}},
        "callbacks": {"ModelCheckpoint": {"dirpath": pathlib.Path("trained_models")}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [{"last_epoch": 3, "_last_lr": [0.1]}],
        "hyper_parameters": {"cfg": OmegaConf.create({"method": "ncl", "devices": [0, 1]})},
        **more,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def record(images: pathlib.Path, **kwargs) -> dict:
    """The official args.json: solo-learn main's, with the official names in method_kwargs."""
    return {
        "name": "bayesncl-official",
        "method": "ncl",
        "backbone": {"name": "resnet18", "kwargs": {}},
        "method_kwargs": {
            "proj_hidden_dim": 32,
            "proj_output_dim": 16,
            "temperature": 0.2,
            "non_neg": "rep_relu",
            "use_bayes": True,
            "bayesian_prior_prob": 0.8,
            "bayesian_kl_lambda": 3e-5,
            "gate_threshold": 0.49,
            "sigmoid_temperature": 0.7,
            "gate_type": "STE",
            "use_topk": False,
            "topk_k": 0,
            "something_of_theirs": 1,
            **kwargs,
        },
        "data": {
            "dataset": "custom",
            "train_path": f"{images}/train",
            "val_path": f"{images}/val",
            "format": "image_folder",
            "num_workers": 0,
            "num_classes": 6,
            "num_large_crops": 2,
            "num_small_crops": 0,
            "no_labels": False,
            "fraction": -1,
        },
        "augmentations": [{"crop_size": 16, "num_crops": 2}],
        "optimizer": {
            "name": "lars",
            "batch_size": 16,
            "lr": 0.4,
            "classifier_lr": 0.1,
            "gating_head_lr": 0.1,
            "weight_decay": 1e-4,
            "kwargs": {"clip_lr": True, "eta": 0.02, "exclude_bias_n_norm": True, "momentum": 0.9},
        },
        "scheduler": {"name": "warmup_cosine"},
        "max_epochs": 200,
        "devices": [0],
        "num_nodes": 1,
        "accumulate_grad_batches": 1,
        "seed": 5,
    }


def imported(checkpoint: pathlib.Path, out: pathlib.Path, *arguments: object) -> pathlib.Path:
    """The folder of the run that the command makes."""
    assert main(["import", str(checkpoint), "--out", str(out), *map(str, arguments)]) == 0
    (made,) = out.glob("*/*/args.json")
    return made.parent


def refused(capsys, *arguments: object) -> str:
    """The message with which an import refuses; nothing is left of it."""
    capsys.readouterr()
    assert main(["import", *map(str, arguments)]) == 2
    message = capsys.readouterr().err
    assert message.splitlines()[-1].startswith("solo-bayesncl: ")
    assert "Traceback" not in message
    return message


@pytest.fixture(scope="module")
def model():
    return official_model()


@pytest.fixture(scope="module")
def recorded(model, images, tmp_path_factory) -> pathlib.Path:
    """An official checkpoint with its args.json."""
    path = save(model, tmp_path_factory.mktemp("official") / "last.ckpt", epoch=199)
    (path.parent / "args.json").write_text(json.dumps(record(images)))
    return path


@pytest.fixture(scope="module")
def bare(model, tmp_path_factory) -> pathlib.Path:
    """The checkpoint alone."""
    return save(model, tmp_path_factory.mktemp("bare") / "last.ckpt")


def codes_of(model: nn.ModuleDict, images: torch.Tensor) -> torch.Tensor:
    """The paper's forward pass in its order, threshold 0.49 and gate temperature 0.7."""
    feats = model["backbone"](images)
    z = F.normalize(model["projector"](feats).relu())
    gate = torch.sigmoid(model["gating_head"](feats) / 0.7) > 0.49
    return F.normalize(z * gate)


@torch.no_grad()
def test_evaluated_codes_are_those_of_the_official_model(model, recorded, images, tmp_path, capsys):
    run = imported(recorded, tmp_path / "out")
    messages = capsys.readouterr().err
    assert "method=bayesncl" in messages
    assert "method_kwargs.gate_threshold=0.49" in messages
    assert run.parent.name == "bayesncl"
    subject = evaluation.encode_splits(run, Options())
    transform = solo_bayesncl.load_encoder(run).transform
    paths = sorted((images / "val").glob("class_*/*.png"))
    expected = codes_of(model, torch.stack([transform(Image.open(path)) for path in paths]))
    torch.testing.assert_close(subject.val.codes, expected, atol=1e-5, rtol=1e-4)
    assert ((expected == 0).any(dim=1) & (expected > 0).any(dim=1)).any()
    assert main(["evaluate", str(run)]) == 0
    result = json.loads((run / "evaluation.json").read_text())
    assert (result["epoch"], result["optimizer_steps"]) == (199, 12345)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("bayesncl_ste_threshold_0.7", "bayesncl"),
        ("bayesncl_ste_relu_sparse_prior", "bayesncl"),
        ("ncl_relu_topk8", "ncl"),
        ("ncl_softplus", "ncl"),
        ("simclr", "ncl"),
    ],
)
def test_imported_heads_give_the_codes_of_the_official_code(images, tmp_path, name, method):
    settings, golden = golden_case(GOLDEN / f"objective/{name}.npz")
    kwargs = settings["method_kwargs"]
    model = official_model(gate=kwargs["use_bayes"])
    for part in {"projector", "gating_head"} & set(model):
        model[part] = head(kwargs["proj_hidden_dim"], kwargs["proj_output_dim"])
    width = golden["in.feats1"].size(1)
    for key, value in model.state_dict().items():
        given = golden.get(f"param.{key}")
        if given is not None:
            value.zero_()  # the features of the golden case are narrower than a ResNet's
            value[..., : given.size(-1)] = given
    path = save(model, tmp_path / "official/last.ckpt")
    (path.parent / "args.json").write_text(json.dumps(record(images, **kwargs)))
    run = imported(path, tmp_path / "out")
    assert run.parent.name == method
    rebuilt = solo_bayesncl.load_encoder(run).model
    feats = torch.cat([golden["in.feats1"], golden["in.feats2"]]).float()
    feats = F.pad(feats, (0, 512 - width))
    out = {"feats": feats, "z": rebuilt.projector(feats)}
    if method == "bayesncl":
        out["gate_logits"] = rebuilt.gating_head(feats)
    expected = golden["out.gated_z_normalized" if method == "bayesncl" else "out.z_normalized"]
    codes = encode_outputs(rebuilt, out).codes
    torch.testing.assert_close(codes, expected.float(), atol=1e-5, rtol=1e-4)


def test_gating_head_that_was_not_used_is_left_out(model, images, tmp_path, capsys):
    path = save(model, tmp_path / "official/last.ckpt")
    (path.parent / "args.json").write_text(json.dumps(record(images, use_bayes=False)))
    run = imported(path, tmp_path / "out")
    assert "the gating head is left out: method=ncl has none" in capsys.readouterr().err
    assert run.parent.name == "ncl"
    names = torch.load(next(run.glob("*.ckpt")), weights_only=True)["state_dict"]
    assert not any(name.startswith("gating_head") for name in names)


def test_overrides_go_over_the_record(recorded, images, tmp_path):
    typed = ["method_kwargs.gate_threshold=0.3", "augmentations.0.crop_size=24"]
    cfg = runs.Run.open(imported(recorded, tmp_path / "out", *typed)).cfg
    assert cfg.method_kwargs.gate_threshold == 0.3
    assert cfg.augmentations[0].crop_size == 24


def test_loading_an_official_checkpoint_advises_to_import_it(recorded):
    expected = r"it holds \S+, which torch would have to run\. .*: solo-bayesncl import\."
    with pytest.raises(InputError, match=expected):
        runs.load_checkpoint(recorded)


def test_what_is_missing_without_a_record_is_named(bare, tmp_path, capsys):
    message = refused(capsys, bare, "--out", tmp_path / "out")
    for key in ("data.dataset", "method_kwargs.gate_threshold", "method_kwargs.non_neg"):
        assert key in message
    assert "method_kwargs.proj_output_dim=16" in message
    assert "--config-path scripts/pretrain/imagenet-100 --config-name bayesncl" in message
    assert not (tmp_path / "out").exists()


def test_recipe_and_weights_make_up_the_settings(tmp_path, capsys):
    """The weights tell stem, classes and widths, the recipe the rest; no data are needed."""
    model = official_model(cifar=True, classes=10)
    path = save(model, tmp_path / "official.ckpt", epoch=199)
    typed = ["method_kwargs.gate_threshold=0.49", "method_kwargs.sigmoid_temperature=0.7"]
    run = imported(path, tmp_path / "out", *CIFAR, "bayesncl", *typed)
    messages = capsys.readouterr().err.splitlines()
    (inferred,) = (line for line in messages if "read from the weights: " in line)
    assert "data.dataset=cifar10" in inferred
    assert "method_kwargs.proj_hidden_dim=32" in inferred
    (assumed,) = (
        line for line in messages if "taken from the recipe, as weights cannot tell" in line
    )
    assert "method_kwargs.gate_threshold=0.49" in assumed
    assert "data.dataset" not in assumed
    assert len(list(run.glob("*-ep=199.ckpt"))) == 1
    images = torch.randn(3, 3, 32, 32)
    encoder = solo_bayesncl.load_encoder(run)
    torch.testing.assert_close(encoder(images), codes_of(model, images), atol=1e-5, rtol=1e-4)


def test_imagenet_checkpoint_is_imported_without_its_images(tmp_path):
    path = save(official_model(classes=100), tmp_path / "official.ckpt", epoch=99)
    recipe = ["--config-path", str(RECIPES / "pretrain/imagenet-100"), "--config-name", "bayesncl"]
    run = imported(path, tmp_path / "out", *recipe, "data.train_path=/gone", "data.val_path=/gone")
    assert solo_bayesncl.load_encoder(run)(torch.randn(1, 3, 64, 64)).shape == (1, 16)


@pytest.mark.parametrize(("blocks", "name"), [(2, "resnet18"), (3, "resnet50")])
def test_weights_determine_the_backbone(blocks, name, tmp_path):
    block = [f"backbone.layer1.0.conv{i}.weight" for i in range(1, blocks + 1)]
    weights = dict.fromkeys([*block, "backbone.conv1.weight"], torch.zeros(1, 3, 7, 7))
    official = OfficialCheckpoint(tmp_path, weights, None, None, None)
    assert official.inferred_settings() == {"backbone.name": name}
    assert not official.has_cifar_stem


def test_comparison_takes_an_imported_run(bare, images, tmp_path, capsys):
    """Placed where a comparison keeps that run, with its recipe, overrides and seed."""
    typed = [o for o in tiny(images, tmp_path) if not o.startswith("checkpoint.dir")]
    out = tmp_path / "comparison"
    run = imported(bare, out / "runs/bayesncl/seed-3", *CUSTOM, "bayesncl", *typed, "seed=3")
    content = next(run.glob("*.ckpt")).read_bytes()
    compare = ["compare", "--config-name", "custom", f"out={out}", "methods=[bayesncl]"]
    assert main([*compare, "seeds=[3]", "linear=null", *typed]) == 0
    assert "That run is finished: nothing to do." in capsys.readouterr().err
    assert [path.read_bytes() for path in out.rglob("*.ckpt")] == [content]
    result = json.loads((out / "comparison.json").read_text())
    assert result["optimizer_steps"] == {"bayesncl": [12345]}


class Calls:
    """Pickled as the call of a function: unpickling it calls the function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [os.system, builtins.exec])
@pytest.mark.parametrize("where", ["hyper_parameters", "state_dict"])
def test_code_in_a_checkpoint_is_not_run(model, recorded, tmp_path, capsys, function, where):
    marker = tmp_path / "marker"
    code = f"touch {marker}" if function is os.system else f"open({str(marker)!r}, 'w')"
    trap = {"trap": Calls(function, code)}
    content = trap if where == "hyper_parameters" else {**model.state_dict(), **trap}
    path = save(model, tmp_path / "official/a.ckpt", **{where: content})
    shutil.copy(recorded.parent / "args.json", path.parent)
    status = main(["import", str(path), "--out", str(tmp_path / "out")])
    assert not marker.exists()
    if function is os.system:
        assert "it holds posix.system, which torch would have to run." in capsys.readouterr().err
    # exec is replaced by what does nothing; torch refuses a file that calls os.system at all
    taken = function is builtins.exec and where == "hyper_parameters"
    assert status == (0 if taken else 2)
    torch.load(path, weights_only=False)  # the trap works
    assert marker.exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([*CUSTOM, "ncl", "++max_epochs=5"], "is of epoch 0 (from 0), the recipe trains max_epo"),
        ([*CUSTOM, "ncl", "data.dataset=cifar10"], "does not have the 3x3 first layer"),
        ([*CUSTOM, "ncl", "backbone.name=resnet50"], "does not fit the model"),
        ([*CUSTOM, "ncl", "method_kwargs.proj_output_dim=8"], "does not fit the model"),
        ([*CUSTOM, "ncl", "data.train_path=/gone"], "data.train_path=/gone is not a folder"),
        ([*CUSTOM, "nlc"], "nlc"),
        (["--config-path", "scripts/pretrain/cifar"], "give both or neither"),
        (["method"], "'method' is not an override: give key=value"),
    ],
)
def test_wrong_arguments_are_refused(bare, images, tmp_path, capsys, arguments, expected):
    typed = [o for o in tiny(images, tmp_path) if "checkpoint.dir" not in o and "proj_" not in o]
    out = tmp_path / "out"
    recipe, more = arguments[: len(CUSTOM) + 1], arguments[len(CUSTOM) + 1 :]
    typed = typed if len(recipe) > len(CUSTOM) else []
    assert expected in refused(capsys, bare, "--out", out, *recipe, *typed, *more)
    assert not list(out.rglob("*.ckpt"))


def test_missing_gate_is_refused(images, tmp_path, capsys):
    path = save(official_model(gate=False), tmp_path / "a.ckpt")
    message = refused(capsys, path, "--out", tmp_path, *CUSTOM, "bayesncl", *tiny(images, "x"))
    assert "has no gating head: choose ncl or simclr" in message
    assert "read from the weights" not in message


def test_settings_of_a_gate_are_not_asked_for_without_a_gate(tmp_path, capsys):
    path = save(official_model(gate=False, cifar=True, classes=10), tmp_path / "a.ckpt")
    message = refused(capsys, path, "--out", tmp_path / "out")
    for key in ("gate_threshold", "gate_type", "sigmoid_temperature"):
        assert key not in message
    unknown, _, inferred = message.partition("(They tell: ")
    assert "method_kwargs.non_neg" in unknown
    assert "data.dataset" not in unknown
    assert "data.dataset=cifar10" in inferred
    assert "--config-name ncl method_kwargs.non_neg=" in inferred


def test_other_number_of_classes_is_refused(tmp_path, capsys):
    path = save(official_model(classes=7), tmp_path / "a.ckpt", epoch=99)
    recipe = ["--config-path", str(RECIPES / "pretrain/imagenet-100"), "--config-name", "bayesncl"]
    message = refused(capsys, path, "--out", tmp_path, *recipe)
    assert "was trained with 7 classes, but data.dataset=imagenet100 has 100" in message


def test_recipe_that_contradicts_the_record_is_refused(recorded, images, tmp_path, capsys):
    typed = [*CUSTOM, "bayesncl", *tiny(images, "x"), "max_epochs=200"]
    message = refused(capsys, recorded, "--out", tmp_path, *typed)
    assert "The recipe has method_kwargs.sigmoid_temperature=1.0" in message
    assert "Type the latter, or leave the recipe out" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "is damaged"),
        ("[1]", "it does not hold a JSON object. Repair it"),
        ('{"encoder": "resnet18"}', "has no section backbone"),
    ],
)
def test_record_that_cannot_be_read_is_refused(model, tmp_path, capsys, text, expected):
    path = save(model, tmp_path / "a/last.ckpt")
    (path.parent / "args.json").write_text(text)
    assert expected in refused(capsys, path, "--out", tmp_path / "out")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("method_kwargs.gate_treshold=0.3", "Did you mean method_kwargs.gate_threshold?"),
        ("augmentations.7.crop_size=3", "cannot be put into the settings"),
        ("method=alchemy", "method='alchemy' is not known"),
        ("backbone.name=resnet19", "backbone.name='resnet19' is not known"),
        ("method_kwargs.gate_threshold=2", "method_kwargs.gate_threshold=2: give a number"),
    ],
)
def test_wrong_overrides_of_a_record_are_refused(recorded, tmp_path, capsys, override, expected):
    assert expected in refused(capsys, recorded, "--out", tmp_path, override)


@pytest.mark.parametrize("damage", ["none", "text", "half", "no state", "folder"])
def test_what_is_not_a_checkpoint_is_refused(recorded, tmp_path, capsys, damage):
    path = tmp_path / "a.ckpt"
    if damage == "folder":
        path.mkdir()
    elif damage == "no state":
        torch.save({"epoch": 1}, path)
    elif damage != "none":
        whole = recorded.read_bytes()
        path.write_bytes(b"hello" if damage == "text" else whole[: len(whole) // 2])
    message = refused(capsys, path, "--out", tmp_path / "out")
    expected = {"none": "is not a file", "folder": "is not a file", "no state": "no state_dict"}
    assert expected.get(damage, "cannot be read as a checkpoint") in message


@pytest.mark.parametrize("state", [[1], {1: torch.zeros(1)}, {"a": 1}, {}])
def test_weights_of_another_form_are_refused(model, tmp_path, capsys, state):
    path = save(model, tmp_path / "a.ckpt", state_dict=state)
    message = refused(capsys, path, "--out", tmp_path / "out")
    assert "its state_dict is " in message
    assert ("dict of tensors by name" if state else "empty") in message


def test_nobody_is_advised_to_load_without_protection(model, tmp_path, capsys):
    path = save(model, tmp_path / "a.ckpt", queue=collections.deque([1]))
    message = refused(capsys, path, "--out", tmp_path / "out")
    assert "it is damaged, or holds" in message
    assert "weights_only" not in message


def test_folder_that_cannot_be_written_is_refused(recorded, capsys):
    assert "--out /proc/x cannot be written" in refused(capsys, recorded, "--out", "/proc/x")
