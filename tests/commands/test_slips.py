"""Slips in recipes and on command lines: one message that names what to change, status 2.

A table over all commands. Nothing is written, and no traceback printed. Wrong values of a recipe
share a command line, since each of them is a line of one message.
"""

import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from conftest import RECIPES, make_images, tiny
from PIL import Image
from safetensors.torch import save_file
from slips import (
    COMPARE_VALUES,
    COMPARISONS,
    LINEAR_VALUES,
    METHOD_VALUES,
    MINE,
    PRETRAIN_VALUES,
    SOLO_LEARN_VALUES,
)

from solo_bayesncl.__main__ import main

# in the table, the folder of the files that the fixture `files` makes
FILES = "FILES"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Images, recipes and checkpoints, whole and damaged."""
    folder = tmp_path_factory.mktemp("files")
    make_images(folder / "images/train", classes=6, per_class=8)
    make_images(folder / "images/val", classes=6, per_class=4)
    make_images(folder / "flat", classes=1, per_class=1)
    (folder / "nothing/train").mkdir(parents=True)
    _make_checkpoints(folder)
    shutil.copytree(RECIPES / "pretrain/custom", folder / "mine")
    for name, content in MINE.items():
        (folder / "mine" / f"{name}.yaml").write_bytes(content)
    (folder / "mine/folder.yaml").mkdir()
    (folder / "comparisons").mkdir()
    for name, content in COMPARISONS.items():
        (folder / "comparisons" / f"{name}.yaml").write_bytes(content)
    return folder


def _make_checkpoints(folder: Path) -> None:
    Image.new("RGB", (8, 8)).save(folder / "image.png")
    shutil.copy(folder / "image.png", folder / "image.ckpt")
    with zipfile.ZipFile(folder / "zip.ckpt", "w") as archive:
        archive.writestr("a", "b")
    save_file({"a": torch.zeros(2)}, folder / "safetensors.ckpt")
    weights = {"conv1.weight": torch.zeros(3)}
    torch.save(weights, folder / "torchvision.ckpt")
    torch.save({"state_dict": weights, "epoch": 0}, folder / "lightning.ckpt")
    torch.save({"state_dict": {"a": 1}}, folder / "no_tensors.ckpt")
    torch.save({"state_dict": {"projector.0.weight": torch.zeros(3)}}, folder / "headless.ckpt")
    torch.save(
        {"state_dict": {"backbone.conv1.weight": torch.zeros(3)}}, folder / "other_backbone.ckpt"
    )
    (folder / "empty.ckpt").write_bytes(b"")
    (folder / "text.ckpt").write_text("hello")
    (folder / "half.ckpt").write_bytes((folder / "torchvision.ckpt").read_bytes()[:400])
    (folder / "empty_folder").mkdir()
    for name, record in (
        *(("unrecorded", None), ("unknown_method", '{"method": "alchemy"}')),
        *(("damaged_record", "{"), ("list_record", "[]")),
    ):
        (folder / name).mkdir()
        shutil.copy(folder / "lightning.ckpt", folder / name / "a-ep=0.ckpt")
        if record is not None:
            (folder / name / "args.json").write_text(record)


def pretrain(*overrides: str, recipe: str = "bayesncl") -> tuple[str, ...]:
    flags = ("--config-path", str(RECIPES / "pretrain/custom"), "--config-name", recipe)
    return ("pretrain", *flags, *tiny(f"{FILES}/images", "out"), *overrides)


def linear(*overrides: str) -> tuple[str, ...]:
    flags = ("--config-path", str(RECIPES / "linear/custom"), "--config-name", "ncl")
    data = [f"data.{split}_path={FILES}/images/{split}" for split in ("train", "val")]
    checkpoint = f"pretrained_feature_extractor={FILES}/lightning.ckpt"
    fitting = ("data.num_workers=0", "precision=32-true")
    return ("linear", *flags, *data, *fitting, checkpoint, *overrides)


def compare(*overrides: str) -> tuple[str, ...]:
    small = [one for one in tiny(f"{FILES}/images", "out") if not one.startswith("checkpoint")]
    comparison = ("--config-name", "custom", "methods=[ncl]", "seeds=[0]", "out=out")
    return ("compare", *comparison, *small, *overrides)


def refusal(arguments: tuple[str, ...], files: Path, tmp_path_factory, capsys) -> str:
    """The message with which a command refuses, in an empty folder that stays so."""
    folder = tmp_path_factory.mktemp("refused")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([one.replace(FILES, str(files)) for one in arguments]) == 2
    message = capsys.readouterr().err
    assert message.startswith("solo-bayesncl: ")
    assert message.count("solo-bayesncl: ") == 1
    assert "Traceback" not in message
    assert list(folder.iterdir()) == []
    return message


def _in_groups(command, values: dict[str, str]) -> list[tuple[tuple[str, ...], str]]:
    """(command line, expected line) of each value; a command line has each of its keys once."""
    groups: list[dict[str, str]] = []
    for override in values:
        key = override.lstrip("+").partition("=")[0]
        group = next((g for g in groups if not _overlaps(key, g)), None)
        if group is None:
            groups.append(group := {})
        group[key] = override
    lines = [command(*group.values()) for group in groups]
    return [
        (line, expected)
        for line in lines
        for override, expected in values.items()
        if override in line
    ]


def _overlaps(key: str, others: dict[str, str]) -> bool:
    return any(f"{a}.".startswith(f"{b}.") for o in others for a, b in ((o, key), (key, o)))


VALUES = [
    *_in_groups(pretrain, PRETRAIN_VALUES),
    *_in_groups(pretrain, METHOD_VALUES),
    *_in_groups(lambda *values: pretrain(*values, recipe="simclr"), SOLO_LEARN_VALUES),
    *_in_groups(linear, LINEAR_VALUES),
    *_in_groups(compare, COMPARE_VALUES),
]


@pytest.fixture(scope="module")
def refusals() -> dict[tuple[str, ...], str]:
    """The messages so far, by command line."""
    return {}


@pytest.mark.parametrize(
    ("arguments", "expected"), VALUES, ids=[f"{a[0]}: {e[:40]}" for a, e in VALUES]
)
def test_wrong_value_is_a_line_of_the_message(
    arguments, expected, refusals, files, tmp_path_factory, capsys
):
    if arguments not in refusals:
        refusals[arguments] = refusal(arguments, files, tmp_path_factory, capsys)
    lines = refusals[arguments].removeprefix("solo-bayesncl: ").splitlines()
    assert any(line.startswith(expected) for line in lines), lines


def own(name: str, *overrides: str) -> tuple[str, ...]:
    """With a recipe of the user's own folder."""
    return ("pretrain", "--config-path", f"{FILES}/mine", "--config-name", name, *overrides)


def own_comparison(name: str) -> tuple[str, ...]:
    return ("compare", "--config-path", f"{FILES}/comparisons", "--config-name", name)


def with_checkpoint(name: str) -> tuple[str, ...]:
    return linear(f"pretrained_feature_extractor={FILES}/{name}")


CUSTOM = ("--config-path", str(RECIPES / "pretrain/custom"), "--config-name")
OVERRIDE = "is not an override: give key=value without spaces around ="

# command line -> a part of the message; each is run by itself
SLIPS = [
    # recipes: what several values, the data or the installed solo-learn decide
    (pretrain("method=bayesnclx"), "method='bayesnclx' is not known. Choose one of"),
    (pretrain("backbone.name=resnet19"), "backbone.name='resnet19' is not known"),
    (pretrain("backbone.name=5"), "backbone.name='5' is not known"),
    (pretrain("backbone.name=vit_tiny"), "Set ++backbone.kwargs.img_size=16"),
    (pretrain("++backbone.kwargs.foo=1"), "The model cannot be built from backbone.kwargs={'foo'"),
    (pretrain("method_kwargs.proj_output_dim=1000000000000"), "The model cannot be built from"),
    (pretrain("optimizer.batch_size=64"), "fewer images than optimizer.batch_size=64"),
    (pretrain("optimizer.batch_size=9999999999999999999"), "fewer images than optimizer.batch_"),
    (pretrain("scheduler.name=step"), "scheduler.name=step needs scheduler.lr_decay_steps"),
    (
        pretrain("optimizer.name=adam"),
        "With optimizer.name=adam leave them out: type ~optimizer.kw",
    ),
    (
        pretrain("++optimizer.kwargs={dampening: 1, nesterov: True}"),
        "optimizer.kwargs.nesterov=True needs a momentum above 0 and dampening=0.",
    ),
    (
        pretrain("++momentum={base_tau: 1, final_tau: 0.9}"),
        "momentum.base_tau=1.0 exceeds momentum",
    ),
    (pretrain("augmentations.0.num_crops=1"), "a positive pair needs 2 crops"),
    (pretrain("augmentations=[]"), "augmentations.0.crop_size is not in this recipe. To add"),
    (pretrain("augmentations=strong.yaml"), "strong"),
    (pretrain("++augmentations.7.crop_size=8"), "augmentations[7]: list index out of range"),
    (
        pretrain("augmentations.0.rrc.crop_max_scale=0.01"),
        "crop_min_scale=0.08 and crop_max_scale=0.01: give shares of the image's area",
    ),
    (
        pretrain("++augmentations.0.gaussian_blur.enabled=False"),
        "enabled=False with prob=0.5: solo-learn looks at prob alone, so set prob=0",
    ),
    (pretrain("devices=0"), "devices=0: give a number of processes"),
    (pretrain("devices=³"), "devices='³': give a number of processes"),
    (pretrain("devices=[]"), "devices=[]: give a number of processes"),
    (pretrain("devices=[a]"), "devices=['a']: give a number of processes"),
    (pretrain("devices=[0,0]"), "devices=[0, 0]: one is named twice."),
    (pretrain("data.train_path=/nowhere"), "data.train_path=/nowhere is not a folder"),
    (pretrain("data.val_path=/nowhere"), "data.val_path=/nowhere is not a folder"),
    (pretrain("data.train_path=20240511"), "data.train_path=20240511 is not a folder"),
    (pretrain("data.train_path=a,b"), "data.train_path=a,b is not a folder"),
    (pretrain("data.train_path=é ~#[x]\\"), "data.train_path=é ~#[x]\\ is not a folder"),
    (pretrain("data.train_path=\udcff"), "data.train_path='\\udcff' is not UTF-8: rename the"),
    (pretrain("resume_from_checkpoint=/no.ckpt"), "resume_from_checkpoint=/no.ckpt does not exist"),
    (pretrain("resume_from_checkpoint=2024"), "resume_from_checkpoint=2024 does not exist"),
    (pretrain("checkpoint.dir=/dev/null/x"), "checkpoint.dir=/dev/null/x cannot be written"),
    (pretrain("optimizer.lr=0,1"), "Ambiguous value for argument 'optimizer.lr=0,1'"),
    (pretrain("optimizer.lr=${foo}"), "optimizer.lr: Interpolation key 'foo' not found"),
    (pretrain("optimizer.lr=${optimizer.lr}"), "optimizer.lr: Recursive interpolation detected"),
    (pretrain("name=${oc.env:NOPE_NOPE}"), "name: KeyError raised while resolving interpolation"),
    (pretrain("name=${nope:1}"), "name: Unsupported interpolation type nope"),
    (pretrain("optimiser.lr=1"), "optimiser.lr is not in this recipe. Did you mean optimizer.lr?"),
    (pretrain("mine.x=1"), "To add a key, type ++key=value: ++mine.x=..."),
    (pretrain("optimizer=sgd"), "optimizer='sgd': give a section with name, batch_size,"),
    (pretrain("optimizer.lr"), f"'optimizer.lr' {OVERRIDE}"),
    (pretrain("optimizer.lr=", "0.1"), f"'0.1' {OVERRIDE}"),
    (pretrain("~nothing"), "Could not delete from config. 'nothing' does not exist."),
    # recipes: files
    (own("tab"), "mine/tab.yaml, line 2: not YAML: while scanning for the next token, found char"),
    (own("on_tab"), "mine/tab.yaml, line 2: not YAML"),
    (own("bracket"), "mine/bracket.yaml, line 3: not YAML: while parsing a flow sequence"),
    (own("quote"), "mine/quote.yaml, line 3: not YAML: while scanning a quoted scalar"),
    (
        own("twice"),
        "mine/twice.yaml, line 3: not YAML: while constructing a mapping, found duplica",
    ),
    (own("nul"), "not YAML: unacceptable character #x0000"),
    (own("latin"), "mine/latin.yaml, line 2: not UTF-8"),
    (own("on_latin"), "mine/latin.yaml, line 2: not UTF-8"),
    (own("utf16"), "mine/utf16.yaml, line 1: not UTF-8"),
    (own("on_nothing"), "In 'on_nothing': Could not load 'nope'. (Searched: "),
    (own("on_itself"), "its defaults, in "),
    (own("wrong_defaults"), "defaults must be a list (got int)"),
    (own("list"), "must be a DictConfig, got ListConfig"),
    (own("empty"), "max_epochs is missing: give an integer of at least 1."),
    (own("folder"), "--config-name folder: "),
    (own("dotted", "data.train_path=x"), "In a file, nest it: optimizer: {lr: ...}."),
    (own("number", "data.train_path=x"), "checkpoint.dir=20240511: give a path or null."),
    (own("null", "data.train_path=x"), "optimizer=None: give a section with name, batch_size,"),
    (own("unresolved"), "name: Interpolation key 'foo' not found"),
    (own("recursive"), "Recursive interpolation detected"),
    (own("environment"), "Environment variable 'NOPE_NOPE' not found"),
    (("pretrain", *CUSTOM, "bayesncl"), "data.train_path is missing: give a path."),
    # recipes: flags
    (("pretrain", *CUSTOM[:-1]), "--config-name is missing"),
    (("linear", "--config-name", "ncl"), "--config-path is missing"),
    (("pretrain", *CUSTOM, "bayesnlc.yaml"), "--config-name bayesnlc.yaml: "),
    (("pretrain", *CUSTOM, "a", "--config-name", "b"), "--config-name is given twice"),
    (
        ("pretrain", *CUSTOM, "scripts/pretrain/cifar/ncl.yaml"),
        "Give the folder apart: --config-path scripts/pretrain/cifar --config-name ncl.",
    ),
    (
        ("pretrain", "--config-path", "nowhere", "--config-name", "ncl"),
        "--config-path nowhere is not a folder of recipes. Give one with YAML recipes, or one of",
    ),
    (
        ("pretrain", "--config-path", f"{FILES}/image.png", "--config-name", "ncl"),
        "image.png is a file: give its folder, and its name apart.",
    ),
    (("pretrain", "--config-nme", "ncl"), "unrecognized arguments: --config-nme. Did you mean --c"),
    # linear evaluation
    (
        linear("pretrained_feature_extractor=/nope"),
        "pretrained_feature_extractor=/nope does not ex",
    ),
    (
        linear("pretrained_feature_extractor=2024"),
        "pretrained_feature_extractor=2024 does not exis",
    ),
    (with_checkpoint("image.ckpt"), "image.ckpt cannot be read as a checkpoint"),
    (with_checkpoint("zip.ckpt"), "zip.ckpt cannot be read as a checkpoint"),
    (with_checkpoint("safetensors.ckpt"), "safetensors.ckpt cannot be read as a checkpoint"),
    (with_checkpoint("empty.ckpt"), "empty.ckpt cannot be read as a checkpoint: it is damaged"),
    (with_checkpoint("text.ckpt"), "text.ckpt cannot be read as a checkpoint: it is damaged"),
    (with_checkpoint("half.ckpt"), "half.ckpt cannot be read as a checkpoint"),
    (with_checkpoint("torchvision.ckpt"), "torchvision.ckpt holds no state_dict"),
    (with_checkpoint("lightning.ckpt"), "lightning.ckpt holds no backbone weights"),
    (with_checkpoint("no_tensors.ckpt"), "its state_dict is not a dict of tensors by name"),
    (with_checkpoint("headless.ckpt"), "headless.ckpt holds no backbone weights"),
    (with_checkpoint("other_backbone.ckpt"), "other_backbone.ckpt does not fit"),
    (with_checkpoint("empty_folder"), "empty_folder holds no .ckpt file"),
    # comparisons
    (compare("seeds=[0,0]"), "seeds=[0, 0]: one is named twice."),
    (compare("methods=nope"), "methods: 'nope' is not known. Choose a variant"),
    (compare("metods=[ncl]"), "metods is not a setting. Did you mean methods?"),
    (
        compare("job.method=ncl"),
        "job.method=ncl job.seed=None: give one of methods=['ncl'] and one",
    ),
    (compare("pretrain=/nope"), "pretrain=/nope is not a folder of recipes"),
    (compare("recipes=nope"), "pretrain=scripts/pretrain/nope is not a folder of recipes"),
    (compare("++grid=5"), "grid=5: give a section with recipe, name and overrides."),
    (compare("evaluation.device=quantum"), "evaluation.device=quantum cannot be used"),
    (compare("evaluation.metadata=/nope"), "evaluation.metadata=/nope is not a file"),
    (compare("max_epochs=0"), "ncl: max_epochs=0: give an integer of at least 1."),
    (
        compare("++optimizer.lrr=1"),
        "ncl: optimizer.lrr is not a setting of optimizer. Did you mean",
    ),
    (compare("linear.optimizer.lr=-1"), "linear: optimizer.lr=-1: give a number of at least 0."),
    (compare("seed=3"), "seed=3: a comparison sets seed itself. Give seeds=[...]."),
    (compare("optimizer.lr=é"), "ncl: optimizer.lr='é': give a number of at least 0."),
    (compare("é=1"), f"'é=1' {OVERRIDE}"),
    (compare("--multirnu"), "unrecognized arguments: --multirnu. Did you mean --multirun?"),
    (("compare",), "--config-name is missing"),
    (("compare", "--config-name", "nope"), "has no such recipe. It has cifar, custom, demo,"),
    (own_comparison("tab"), "comparisons/tab.yaml, line 2: not YAML"),
    (own_comparison("latin"), "comparisons/latin.yaml, line 2: not UTF-8"),
    (own_comparison("number"), "out=2024: give the folder to write to"),
    (own_comparison("misspelt"), "metods is not a setting of a comparison. Did you mean methods?"),
    (own_comparison("list"), "must be a DictConfig, got ListConfig"),
    (own_comparison("bare"), "methods is missing: give a list of names"),
    # models
    *(
        slip
        for command in (("evaluate",), ("explain",), ("export", "--format", "onnx", "--out", "x"))
        for slip in (
            ((*command, "/nope"), "/nope does not exist. Give a .ckpt file or the folder of a run"),
            ((*command, "\udcff"), "does not exist. Give a .ckpt file or the folder of a run."),
            ((*command, f"{FILES}/empty_folder"), "empty_folder holds no .ckpt file"),
            ((*command, f"{FILES}/unrecorded"), "unrecorded holds no args.json"),
            ((*command, f"{FILES}/damaged_record"), "damaged_record/args.json is damaged"),
            ((*command, f"{FILES}/list_record"), "list_record/args.json is damaged"),
            ((*command, f"{FILES}/unknown_method"), "names method 'alchemy'"),
            ((*command, f"{FILES}/image.png"), "holds no args.json"),
            ((*command, "x", "--nope"), "unrecognized arguments: --nope. "),
        )
    ),
    (("evaluate",), "evaluate: the following arguments are required: checkpoint. See solo-bayes"),
    (
        ("evaluate", "x", "--devise", "cpu"),
        "unrecognized arguments: --devise cpu. Did you mean --de",
    ),
    (("evaluate", "x", "--workers", "two"), "argument --workers: invalid int value: 'two'."),
    (
        ("evaluate", f"{FILES}/unknown_method", "--workers", "-1"),
        "--workers -1: give an integer of",
    ),
    (
        ("evaluate", f"{FILES}/unknown_method", "--device", "quantum"),
        "--device quantum cannot be u",
    ),
    (
        ("evaluate", f"{FILES}/unknown_method", "--precision", "8"),
        "--precision 8 is not known. Ch",
    ),
    (
        ("evaluate", f"{FILES}/unknown_method", "--metadata", "/nope"),
        "--metadata /nope is not a fi",
    ),
    (
        ("evaluate", f"{FILES}/unknown_method", "--reference", "foo"),
        "--reference foo is not a mode",
    ),
    (("explain", "x", "--top", "0"), "--top 0: give an integer of at least 1."),
    (("explain", "x", "--image", "/nope"), "--image /nope is not a file."),
    (("export", "x", "--out", "y"), "the following arguments are required: --format"),
    (("export", "x", "--fromat", "onnx", "--out", "y"), "Did you mean --format?"),
    (
        ("export", "x", "--format", "onnx", "--out", "."),
        "--out . is a folder: give the name of a f",
    ),
    (
        ("export", f"{FILES}/unknown_method", "--format", "tflite", "--out", "y"),
        "--format tflite is not known. Choose one of: torchvision, timm,",
    ),
    *(
        (("import", f"{FILES}/{name}", "--out", "out"), expected)
        for name, expected in (
            ("nope.ckpt", "nope.ckpt is not a file. Give a .ckpt file of the official code."),
            ("image.ckpt", "image.ckpt cannot be read as a checkpoint"),
            ("zip.ckpt", "zip.ckpt cannot be read as a checkpoint"),
            ("empty.ckpt", "empty.ckpt cannot be read as a checkpoint"),
            ("torchvision.ckpt", "torchvision.ckpt holds no state_dict"),
            ("lightning.ckpt", "lightning.ckpt lacks classifier.weight"),
            ("no_tensors.ckpt", "its state_dict is not a dict of tensors by name"),
        )
    ),
    (
        ("import", "x.ckpt", "--out", "y", "--config-name", "ncl"),
        "--config-path and --config-name b",
    ),
    (("import", "x.ckpt", "--outt", "y"), "the following arguments are required: --out. Did you m"),
    # data, demo, doctor and scripts
    (("data",), "the following arguments are required: dataset, --out"),
    (("data", "digit", "--out", "x"), "invalid choice: 'digit'"),
    (("data", "digits", "--out", "x", "--size", "0"), "--size 0 cannot be used. Give a whole numb"),
    (
        ("data", "digits", "--out", "x", "--size", "big"),
        "argument --size: invalid int value: 'big'",
    ),
    (("data", "digits", "--out", "x", "--sead", "1"), "Did you mean --seed?"),
    (
        ("data", "digits", "--out", f"{FILES}/image.png"),
        "image.png is a file. Give a folder",
    ),
    (("data", "digits", "--out", f"{FILES}/images"), "is not empty, nor a complete data set."),
    (
        ("data", "imagenet-100", "--out", "x"),
        "imagenet-100 needs --imagenet DIR, a download of ImageNet",
    ),
    (
        ("data", "imagenet-100", "--out", "x", "--imagenet", "nope"),
        "nope is not a folder.",
    ),
    (
        ("data", "imagenet-100", "--out", "x", "--imagenet", "y", "--train-size", "9"),
        "--train-size is not an option of imagenet-100. Leave it out.",
    ),
    (
        ("data", "digits", "--out", "x", "--imagenet", "y"),
        "--imagenet is not an option of digits. Leave it out.",
    ),
    (("demo", "--seeds", "-1"), "--seeds [-1]: give different integers of at least 0."),
    (("demo", "--seeds", "1", "1"), "--seeds [1, 1]: give different integers of at least 0."),
    (("demo", "--epochs", "0"), "--epochs 0: give an integer of at least 1."),
    (("demo", "--epochs", "1.5"), "argument --epochs: invalid int value: '1.5'"),
    (("doctor", "--foo"), "doctor: unrecognized arguments: --foo."),
    (("nope.py",), "nope.py is not a file. Give the path of a script of solo-learn."),
    (("pretrian",), "invalid choice: 'pretrian'"),
    ((), "the following arguments are required: COMMAND"),
]


@pytest.mark.parametrize(
    ("arguments", "expected"), SLIPS, ids=[f"{' '.join(a[:1])}: {e[:50]}" for a, e in SLIPS]
)
def test_slip_is_one_message(arguments, expected, files, tmp_path_factory, capsys):
    assert expected in refusal(arguments, files, tmp_path_factory, capsys)
