"""Where a run is written and what it continues: decided once, said, and never shared."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from conftest import only_run
from small_runs import arguments, assert_same_training, at, checkpoint_of

from solo_bayesncl import runs
from solo_bayesncl.__main__ import main
from solo_bayesncl.adapters import adapter
from solo_bayesncl.errors import InputError
from solo_bayesncl.locks import locked
from solo_bayesncl.recipes.compose import compose_recipe
from solo_bayesncl.training.checkpoint_io import size_on_disk
from solo_bayesncl.training.pretraining import pretrain

pytestmark = pytest.mark.usefixtures("narrow_backbone")

SCHEDULE = "scheduler.name=none"  # a checkpoint holds that of its own number of epochs


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory) -> Path:
    """The output folder of a run of two epochs, both of whose checkpoints were kept."""
    out = tmp_path_factory.mktemp("finished")
    assert main(arguments(images, out, SCHEDULE, "checkpoint.keep_prev=True")) == 0
    return out


@pytest.fixture
def out(finished, tmp_path) -> Path:
    """A copy to continue in."""
    return shutil.copytree(finished, tmp_path / "out")


@pytest.fixture(scope="module")
def undisturbed(images, tmp_path_factory) -> Path:
    """A run of three epochs."""
    out = tmp_path_factory.mktemp("undisturbed")
    assert main(arguments(images, out, SCHEDULE, "max_epochs=3")) == 0
    return only_run(out, "bayesncl")


def contents(folder: Path) -> dict[str, bytes]:
    """Of all files but TensorBoard's, which a thread of the run in progress writes."""
    files = (path for path in folder.rglob("*") if path.is_file() and "tfevents" not in path.name)
    return {str(path): path.read_bytes() for path in files}


def start(images, out, *more: str) -> int:
    return main(arguments(images, out, SCHEDULE, *more))


def folders(out: Path) -> list[Path]:
    return [path for path in (out / "bayesncl").iterdir() if path.is_dir()]


def start_beside(images, out, *more: str) -> Path:
    """Another start while Hydra's program runs, of which there can be one at a time."""
    _, _, folder, _, recipe, *overrides = arguments(images, out, SCHEDULE, *more)
    return pretrain(compose_recipe(folder, recipe, overrides))


@pytest.mark.parametrize("moment", ["in a step", "between epochs"])
def test_second_start_of_a_command_says_so_and_touches_nothing(images, tmp_path, moment):
    """Before the first checkpoint, too."""
    refused = []

    def start_again():
        before = contents(tmp_path)
        with pytest.raises(InputError, match="another process is working on it") as error:
            start_beside(images, tmp_path)
        refused.append(str(error.value))
        assert contents(tmp_path) == before

    with at(moment, start_again):
        assert start(images, tmp_path) == 0
    run = only_run(tmp_path, "bayesncl")
    (message,) = refused
    assert message.startswith("This run is in progress: ")
    assert f"({run}: process {os.getpid()} on " in message
    assert checkpoint_of(run)["global_step"] == 6


def test_checkpoint_of_a_run_in_progress_is_not_resumed_in_its_folder(images, out, capsys):
    run = only_run(out, "bayesncl")
    checkpoint = next(run.glob("*-ep=0.ckpt"))
    with locked(run):
        before = contents(out)
        assert start(images, out, f"resume_from_checkpoint={checkpoint}") == 2
        assert contents(out) == before
    assert f"another process is working on it ({run}" in capsys.readouterr().err


def test_other_commands_train_beside_a_run_in_progress(images, tmp_path):
    with at("in a step", lambda: start_beside(images, tmp_path, "seed=6")):
        assert start(images, tmp_path) == 0
    steps = [checkpoint_of(folder)["global_step"] for folder in folders(tmp_path)]
    assert steps == [6, 6]


def test_setting_that_keeps_a_run_from_being_continued_is_named(images, out, capsys):
    run = only_run(out, "bayesncl")
    checkpoint = next(run.glob("*-ep=1.ckpt"))
    assert start(images, out, "max_epochs=3") == 0
    message = capsys.readouterr().err
    assert f"a new run: {run} differs in max_epochs (2 there, 3 here)." in message
    assert f"resume_from_checkpoint={checkpoint}" in message
    assert len(folders(out)) == 2


def test_run_without_the_key_and_with_its_default_are_the_same(images, out, capsys):
    """`data.augment=image`, as messages about `batch` advise."""
    assert start(images, out, "checkpoint.keep_prev=True", "++data.augment=image") == 0
    assert "That run is finished" in capsys.readouterr().err
    assert len(folders(out)) == 1


def test_crops_of_another_kind_begin_a_run(images, out, capsys):
    assert start(images, out, "++data.augment=batch") == 0
    assert "data.augment (absent there, batch here)" in capsys.readouterr().err
    assert len(folders(out)) == 2


def test_nearest_run_is_the_one_with_the_fewest_other_settings(images, out, capsys):
    assert start(images, out, "seed=6", "method_kwargs.temperature=0.3") == 0
    capsys.readouterr()
    assert start(images, out, "seed=6") == 0
    message = capsys.readouterr().err
    assert "differs in seed (5 there, 6 here)" in message or "differs in method_kwargs." in message
    assert "temperature (0.2 there, 0.2" not in message
    assert message.count("a new run") == 1


@pytest.mark.parametrize("form", ["absolute", "relative", "home", "folder", "link"])
def test_named_checkpoint_is_continued_in_its_folder(
    images, out, monkeypatch, undisturbed, form, capsys
):
    """As an undisturbed run trains on; however the path is written."""
    run = only_run(out, "bayesncl")
    checkpoint = next(run.glob("*-ep=1.ckpt"))
    monkeypatch.chdir(out.parent)
    monkeypatch.setenv("HOME", str(out.parent))
    (out.parent / "link").symlink_to(out)
    relative = checkpoint.relative_to(out.parent)
    given = {
        "absolute": checkpoint,
        "relative": relative,
        "home": f"~/{relative}",
        "folder": run,
        "link": Path("link") / checkpoint.relative_to(out),
    }[form]
    directory = out if form == "relative" else Path(out.name)
    typed = [f"checkpoint.dir={directory}", "max_epochs=3", "checkpoint.keep_prev=True"]
    assert start(images, out, *typed, f"resume_from_checkpoint={given}") == 0
    assert folders(out) == [run]
    for epoch in (0, 1):
        next(run.glob(f"*-ep={epoch}.ckpt")).unlink()
    assert_same_training(run, undisturbed)


def test_run_that_left_images_out_is_not_the_one_that_stops_at_them(images, out, capsys):
    (only_run(out, "bayesncl") / runs.SKIPPED_IMAGES).write_text("a.png\tit is empty\n")
    assert start(images, out, "data.on_corrupt=skip") == 0
    message = capsys.readouterr().err
    assert "differs in data.on_corrupt (stop there, skip here)" in message
    assert len(folders(out)) == 2


def test_folder_with_a_damaged_record_is_named(images, out, capsys):
    run = only_run(out, "bayesncl")
    (run / "args.json").write_text('{"method": ')
    assert start(images, out) == 0
    assert f"{run} is not continued: {run}/args.json is damaged" in capsys.readouterr().err


def test_start_without_earlier_runs_says_nothing_of_them(images, tmp_path, capsys):
    assert start(images, tmp_path, "max_epochs=1") == 0
    message = capsys.readouterr().err
    assert "a new run" not in message
    assert "resuming" not in message


@pytest.mark.parametrize("recorded", [True, False])
def test_state_of_another_optimizer_is_refused(images, out, capsys, recorded):
    run = only_run(out, "bayesncl")
    if not recorded:
        (run / "args.json").unlink()
    typed = ["max_epochs=3", "optimizer.name=adam", "~optimizer.kwargs"]
    before = contents(out)
    assert start(images, out, *typed, f"resume_from_checkpoint={run}") == 2
    message = capsys.readouterr().err
    assert f"it holds the state of {'lars' if recorded else 'SGD or LARS'}, but" in message
    assert "optimizer.name=adam" in message
    assert contents(out) == before


def test_damaged_last_checkpoint_is_trained_again(images, out, finished, capsys):
    run = only_run(out, "bayesncl")
    last = next(run.glob("*-ep=1.ckpt"))
    last.write_bytes(last.read_bytes()[:1000])
    assert start(images, out, "checkpoint.keep_prev=True") == 0
    assert f"{last} cannot be read as a checkpoint: it is damaged" in capsys.readouterr().err
    assert folders(out) == [run]
    next(run.glob("*-ep=0.ckpt")).unlink()
    expected = shutil.copytree(only_run(finished, "bayesncl"), out / "expected")
    next(expected.glob("*-ep=0.ckpt")).unlink()
    assert_same_training(run, expected)


def test_run_of_damaged_checkpoints_is_not_continued(images, out, capsys):
    (run,) = folders(out)
    paths = list(run.glob("*.ckpt"))
    for path in paths:
        path.write_bytes(path.read_bytes()[:1000])
    before = contents(out)
    assert start(images, out) == 2
    message = capsys.readouterr().err
    assert all(f"{path} cannot be read" in message for path in paths)
    assert "auto_resume.enabled=False" in message
    assert contents(out) == before


def test_linear_and_evaluate_use_the_checkpoint_before_a_damaged_one(out, capsys, tmp_path):
    run = only_run(out, "bayesncl")
    last = next(run.glob("*-ep=1.ckpt"))
    last.write_bytes(last.read_bytes()[:1000])
    assert main(["evaluate", str(run), "--out", str(tmp_path / "e.json")]) == 0
    assert f"Using the checkpoint before it: {next(run.glob('*-ep=0.ckpt'))}" in (
        capsys.readouterr().err
    )
    found = runs.checkpoint_at(run, "pretrained_feature_extractor")
    assert found.name.endswith("-ep=0.ckpt")


def test_resumed_checkpoint_is_read_once(images, out, monkeypatch):
    (run,) = folders(out)
    next(run.glob("*-ep=1.ckpt")).unlink()
    loaded = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: loaded.append(a) or load(*a, **k))
    assert start(images, out) == 0
    assert len(loaded) == 1


@pytest.mark.parametrize("optimizer", ["lars", "adam"])
def test_size_of_a_checkpoint_is_known_before_training(images, tmp_path, optimizer):
    typed = [f"optimizer.name={optimizer}", *(["~optimizer.kwargs"] * (optimizer == "adam"))]
    seen = []
    original = adapter().build

    def build(cfg):
        model = original(cfg)
        seen.append(size_on_disk(model, optimizer))
        return model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapter(), "build", build)
        assert start(images, tmp_path, "max_epochs=1", *typed) == 0
    (path,) = only_run(tmp_path, "bayesncl").glob("*.ckpt")
    values = checkpoint_of(path.parent)
    tensors = [*values["state_dict"].values()]
    for state in values["optimizer_states"][0]["state"].values():
        tensors += [value for value in state.values() if torch.is_tensor(value) and value.dim()]
    assert seen == [sum(tensor.nbytes for tensor in tensors)]


def test_disk_without_room_for_a_checkpoint_is_refused_at_the_start(
    images, tmp_path, monkeypatch, capsys
):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert start(images, tmp_path) == 2
    message = capsys.readouterr().err
    assert f"checkpoint.dir={tmp_path} is on a disk with 0 MB free" in message
    assert folders(tmp_path) == []
