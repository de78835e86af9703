"""Bad input: one message that names what to change, exit status 2, no traceback, nothing lost."""

import json
import shutil

import pytest
import torch
from conftest import RECIPES, make_images, solo_bayesncl, tiny

from solo_bayesncl import recipes
from solo_bayesncl.__main__ import main

CUSTOM = ["pretrain", "--config-path", str(RECIPES / "pretrain/custom"), "--config-name"]


def refused(capsys, *arguments: object) -> str:
    """The message with which a command refuses."""
    assert main([str(argument) for argument in arguments]) == 2
    message = capsys.readouterr().err
    assert message.startswith("solo-bayesncl: ")
    assert "Traceback" not in message
    return message


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("method=bayesnclx", "method='bayesnclx' is not known. Choose one of"),
        ("backbone.name=resnet19", "backbone.name='resnet19' is not known"),
        ("data.dataset=mnist", "data.dataset='mnist': give one of cifar10"),
        ("data.format=zip", "data.format='zip': give one of image_folder"),
        ("optimizer.name=rmsprop", "optimizer.name='rmsprop': give one of sgd"),
        ("optimizer.batch_size=0", "optimizer.batch_size=0: give an integer of at least 1"),
        ("optimizer.batch_size=64", "fewer images than optimizer.batch_size=64"),
        ("optimizer.lr=-1", "optimizer.lr=-1: give a number of at least 0"),
        ("optimizer.lr=fast", "optimizer.lr='fast'"),
        ("scheduler.name=cosine", "scheduler.name='cosine': give one of warmup_cosine"),
        ("scheduler.name=step", "needs scheduler.lr_decay_steps"),
        ("max_epochs=0", "max_epochs=0"),
        ("precision=8", "precision=8: give one of 16-mixed"),
        ("devices=0", "devices=0: give a number of processes"),
        ("devices=[]", "devices=[]: give a number of processes"),
        ("accelerator=tpu", "accelerator='tpu': give one of auto"),
        ("data.num_workers=-1", "data.num_workers=-1"),
        ("data.train_path=/nowhere", "data.train_path=/nowhere is not a folder"),
        ("data.val_path=/nowhere", "data.val_path=/nowhere is not a folder"),
        ("augmentations.0.num_crops=1", "a positive pair needs 2 crops"),
        ("method_kwargs.sigmoid_temperature=0", "method_kwargs.sigmoid_temperature=0"),
        ("method_kwargs.non_neg=swish", "method_kwargs.non_neg='swish'"),
        ("++method_kwargs.gate_tipe=STE", "Did you mean method_kwargs.gate_type?"),
        ("optimizer.gating_head_lr=-2", "optimizer.gating_head_lr=-2"),
        ("resume_from_checkpoint=/no.ckpt", "resume_from_checkpoint=/no.ckpt does not exist"),
        ("checkpoint.dir=/proc/runs", "checkpoint.dir=/proc/runs cannot be written"),
        ("optimizer.name=adam", "type ~optimizer.kwargs"),
        ("backbone.name=vit_tiny", "Set ++backbone.kwargs.img_size=16"),
        ("++backbone.kwargs.foo=1", "The model cannot be built from backbone.kwargs"),
        ("checkpoint.frequency=0", "checkpoint.frequency=0: give an integer"),
        ("seed=abc", "seed='abc': give an integer from 0 to 4294967295"),
        ("seed=99999999999", "seed=99999999999: give an integer from 0 to"),
        ("seed=1.5", "seed=1.5: give an integer from 0 to"),
        ("augmentations.0.num_crops=abc", "augmentations.0.num_crops='abc'"),
        ("++augmentations.0.mean=0.5", "augmentations.0.mean=0.5: give three numbers"),
        ("data.train_path=123", "data.train_path=123: give a path"),
        ("devices=[a]", "devices=['a']: give a number of processes"),
        ("optimiser.lr=1", "++key=value"),
        ("optimizer.lr", "optimizer.lr"),
        ("augmentations=strong.yaml", "strong"),
    ],
)
def test_pretrain_refuses_a_wrong_value(images, tmp_path, capsys, override, expected):
    out = tmp_path / "out"
    message = refused(capsys, *CUSTOM, "bayesncl.yaml", *tiny(images, out, override))
    assert expected in message
    assert not list(out.rglob("*.ckpt"))


def test_missing_values_are_named(capsys):
    message = refused(capsys, *CUSTOM, "bayesncl.yaml")
    assert "data.train_path" in message


def test_unknown_recipe_is_refused(capsys):
    assert "bayesnlc" in refused(capsys, *CUSTOM, "bayesnlc.yaml")
    message = refused(capsys, "pretrain", "--config-path", "nowhere", "--config-name", "ncl")
    assert "nowhere is not a folder" in message
    assert "scripts/pretrain/cifar" in message


def test_folder_without_classes_is_refused(tmp_path, capsys):
    make_images(tmp_path / "train", classes=1, per_class=2)
    flat = tmp_path / "train" / "class_0"
    message = refused(
        capsys, *CUSTOM, "ncl.yaml", *tiny(tmp_path, tmp_path / "o", f"data.train_path={flat}")
    )
    assert "has no class folders" in message
    assert "data.no_labels=True" in message


def test_class_folders_without_labels_are_refused(images, tmp_path, capsys):
    overrides = tiny(images, tmp_path, "data.no_labels=True")
    message = refused(capsys, *CUSTOM, "ncl.yaml", *overrides)
    assert "has folders in it" in message
    assert "data.no_labels=False" in message


def test_class_folder_without_images_is_refused(images, tmp_path, capsys):
    shutil.copytree(images, tmp_path / "data")
    (tmp_path / "data/train/empty").mkdir()
    message = refused(capsys, *CUSTOM, "ncl.yaml", *tiny(tmp_path / "data", tmp_path / "out"))
    assert "empty" in message


@pytest.mark.parametrize("workers", [0, 1])
def test_half_an_image_is_one_message(jpegs, tmp_path, capsys, workers):
    shutil.copytree(jpegs, tmp_path / "data")
    broken = next((tmp_path / "data/train").glob("*/0.jpg"))
    broken.write_bytes(broken.read_bytes()[:400])
    overrides = tiny(tmp_path / "data", tmp_path / "out", f"data.num_workers={workers}")
    message = refused(capsys, *CUSTOM, "ncl.yaml", *overrides)
    assert f"{broken} cannot be read as an image: " in message
    assert not list((tmp_path / "out").rglob("*.tfevents*"))


def test_dali_with_too_few_images_is_refused(jpegs, tmp_path, capsys):
    overrides = ["data.format=dali", "dali.device=cpu", "data.num_workers=1"]
    overrides.append("optimizer.batch_size=64")
    message = refused(capsys, *CUSTOM, "ncl.yaml", *tiny(jpegs, tmp_path, *overrides))
    assert "fewer images than optimizer.batch_size=64" in message


def test_checkpoint_of_another_method_is_not_resumed(images, tmp_path, capsys):
    assert main([*CUSTOM, "simclr.yaml", *tiny(images, tmp_path)]) == 0
    capsys.readouterr()
    (checkpoint,) = tmp_path.glob("simclr/*/*-ep=0.ckpt")
    # as typed: the name holds "=", which Hydra's grammar would refuse
    overrides = tiny(images, tmp_path / "out", f"resume_from_checkpoint={checkpoint}")
    message = refused(capsys, *CUSTOM, "bayesncl.yaml", *overrides)
    assert "does not fit the model of this recipe: gating_head" in message
    assert checkpoint.exists()


def test_missing_recipe_flags_are_named(capsys):
    assert "--config-name is missing" in refused(capsys, *CUSTOM[:-1])
    assert "--config-path is missing" in refused(capsys, "linear", "--config-name", "ncl")
    assert main(["pretrain", "--help"]) == 0
    assert "--config-path DIR" in capsys.readouterr().out


def test_damaged_image_is_named(images, tmp_path, capsys):
    shutil.copytree(images, tmp_path / "data")
    broken = next((tmp_path / "data/train").glob("*/0.png"))
    broken.write_bytes(b"not an image")
    message = refused(capsys, *CUSTOM, "ncl.yaml", *tiny(tmp_path / "data", tmp_path / "out"))
    assert "0.png" in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["accelerator=gpu"], "no CUDA device is found: set accelerator=auto"),
        (["data.format=dali", "dali.device=gpu"], "no CUDA device is found: set dali.device=cpu"),
    ],
)
def test_gpu_settings_without_a_gpu(images, tmp_path, capsys, overrides, expected):
    message = refused(capsys, *CUSTOM, "ncl.yaml", *tiny(images, tmp_path, *overrides))
    assert expected in message


def test_dali_without_threads_is_refused(images, tmp_path, capsys):
    overrides = ["data.format=dali", "dali.device=cpu"]
    message = refused(capsys, *CUSTOM, "ncl.yaml", *tiny(images, tmp_path, *overrides))
    assert "data.num_workers=0: DALI needs at least 1 thread" in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"", "cannot be read as a checkpoint"), (b"PK\x03\x04 broken", "cannot be read")],
)
def test_damaged_checkpoint_is_refused(tmp_path, capsys, content, expected):
    (tmp_path / "args.json").write_text(json.dumps({"method": "ncl"}))
    (tmp_path / "x-ep=1.ckpt").write_bytes(content)
    from solo_bayesncl import runs
    from solo_bayesncl.errors import InputError

    with pytest.raises(InputError, match=expected):
        runs.load_checkpoint(tmp_path / "x-ep=1.ckpt")


def test_checkpoint_that_would_run_code_is_refused(tmp_path):
    import pickle

    from solo_bayesncl import runs
    from solo_bayesncl.errors import InputError

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "was_run"), "w"))

    with (tmp_path / "evil.ckpt").open("wb") as file:
        pickle.dump({"state_dict": Evil()}, file)
    with pytest.raises(InputError, match=r"evil.ckpt cannot be read"):
        runs.load_checkpoint(tmp_path / "evil.ckpt")
    torch.save({"state_dict": Evil()}, tmp_path / "evil2.ckpt")
    with pytest.raises(InputError, match=r"evil2.ckpt cannot be read"):
        runs.load_checkpoint(tmp_path / "evil2.ckpt")
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, "holds no .ckpt file"),
        ({"a.ckpt": ""}, "holds no args.json"),
        ({"a.ckpt": "", "args.json": "{"}, "args.json is damaged"),
        ({"a.ckpt": "", "args.json": "[]"}, "args.json is damaged"),
        ({"a.ckpt": "", "args.json": '{"method": "alchemy"}'}, "names method 'alchemy'"),
    ],
)
def test_evaluate_refuses_what_is_no_run(tmp_path, capsys, files, expected):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert expected in refused(capsys, "evaluate", tmp_path)


def test_evaluate_refuses_a_missing_path_and_device(tmp_path, capsys):
    assert "does not exist" in refused(capsys, "evaluate", tmp_path / "none")
    (tmp_path / "a.ckpt").write_text("")
    (tmp_path / "args.json").write_text('{"method": "ncl"}')
    assert "--device quantum" in refused(capsys, "evaluate", tmp_path, "--device", "quantum")
    assert "--workers -1" in refused(capsys, "evaluate", tmp_path, "--workers", "-1")


def test_linear_refuses_a_checkpoint_of_another_backbone(images, tmp_path, capsys):
    path = tmp_path / "other.ckpt"
    torch.save({"state_dict": {"backbone.conv1.weight": torch.zeros(3)}}, path)
    arguments = [
        "linear", "--config-path", RECIPES / "linear/custom", "--config-name", "ncl.yaml",
        f"pretrained_feature_extractor={path}", f"data.train_path={images}/train",
        f"data.val_path={images}/val", "data.num_workers=0", "precision=32-true",
    ]  # fmt: skip
    assert "other.ckpt does not fit" in refused(capsys, *arguments)
    torch.save({"state_dict": {"projector.0.weight": torch.zeros(3)}}, path)
    assert "holds no backbone weights" in refused(capsys, *arguments)


def test_wrong_options_of_data_and_demo(tmp_path, capsys):
    assert "--seeds" in refused(capsys, "demo", "--out", tmp_path / "d", "--seeds", "-1")
    assert "--seeds" in refused(capsys, "demo", "--out", tmp_path / "d", "--seeds", "1", "1")
    assert "--epochs" in refused(capsys, "demo", "--out", tmp_path / "d", "--epochs", "0")


def test_the_process_exits_with_2_and_one_message(tmp_path):
    done = solo_bayesncl("evaluate", tmp_path / "none")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    done = solo_bayesncl(*CUSTOM, "bayesncl.yaml", "max_epochs=zero")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_missing_solo_learn_is_one_message_with_the_commands(tmp_path):
    """An environment without solo-learn: its finder is told not to find it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\n"
        "found = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'solo' else found(name, *more)\n"
    )
    environment = {"PYTHONPATH": str(tmp_path)}
    make_images(tmp_path / "data/train", classes=2, per_class=8)
    make_images(tmp_path / "data/val", classes=2, per_class=2)
    for arguments in (
        ["doctor"],
        [*CUSTOM, "ncl.yaml", *tiny(tmp_path / "data", tmp_path / "out")],
    ):
        done = solo_bayesncl(*arguments, env=environment)
        text = done.stdout + done.stderr
        assert done.returncode == 2
        assert "pip install --no-deps solo-learn==1.0.2" in text
        assert "git clone https://github.com/vturrisi/solo-learn" in text
        assert "Traceback" not in text


def test_devices_in_every_form_of_lightning():
    from omegaconf import OmegaConf

    for given, count in ((1, 1), ("2", 2), (3, 3), ([0], 1), ([0, 1], 2), ("auto", 1), (-1, 1)):
        cfg = OmegaConf.create({"accelerator": "cpu", "devices": given, "precision": 32})
        recipes.fit_to_machine(cfg)
        assert len(cfg.devices) == count
        assert cfg.strategy == ("auto" if count == 1 else "ddp")


def test_data_that_can_not_be_downloaded_is_one_message(tmp_path, capsys, monkeypatch):
    """As on a machine without a network: every connection is refused at once."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    overrides = [
        o for o in tiny(tmp_path, tmp_path / "out") if not o.startswith("data.dataset")
    ]  # fmt: skip
    message = refused(capsys, *CUSTOM, "ncl.yaml", *overrides, "data.dataset=cifar10")
    assert "data.dataset=cifar10 is neither in data.train_path" in message
    assert "Put its files there." in message
