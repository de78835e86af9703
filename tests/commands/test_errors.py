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


def test_help_of_a_recipe_command_names_its_flags(capsys):
    assert main(["pretrain", "--help"]) == 0
    assert "--config-path DIR" in capsys.readouterr().out


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
