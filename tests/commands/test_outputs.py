"""What commands write: checked before the work, never over a file of the user's, never mixed."""

import json
import multiprocessing
import shutil
import sys
from pathlib import Path

import pytest
from compare_runs import arguments
from conftest import RECIPES, only_run, tiny
from test_commands import pretrain
from test_errors import refused

from solo_bayesncl import load_encoder
from solo_bayesncl.__main__ import main
from solo_bayesncl.commands import compare as command
from solo_bayesncl.comparison import results
from solo_bayesncl.evaluation import encoding, record
from solo_bayesncl.locks import locked
from solo_bayesncl.recipes.compose import compose_recipe
from solo_bayesncl.sharing import export as sharing
from solo_bayesncl.sharing.official import OfficialCheckpoint

pytestmark = pytest.mark.usefixtures("narrow_backbone")


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    pretrain(images, out, name="ncl.yaml")
    return only_run(out, "ncl")


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def no_work(monkeypatch):
    """Fails where a model is run, compared or trained."""

    def work(*_, **__):
        raise AssertionError("work was begun")

    monkeypatch.setattr(encoding, "encode_splits", work)
    monkeypatch.setattr(sharing, "export", work)
    monkeypatch.setattr(OfficialCheckpoint, "read", work)
    monkeypatch.setattr(command, "_run", work)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["notes.txt", "picture.png", "run/args.json", "run/{ckpt}"])
def test_evaluate_replaces_no_file_but_an_evaluation(run, tmp_path, capsys, no_work, name):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (checkpoint,) = run.glob("*.ckpt")
    target = tmp_path / name.format(ckpt=checkpoint.name)
    before = contents(tmp_path)
    message = refused(capsys, "evaluate", run, "--out", target)
    assert f"--out {target}: {target} exists and is not an earlier result" in message
    assert contents(tmp_path) == before


@pytest.mark.parametrize("target", ["/dev/null", "/proc/e.json", "{file}/e.json", "{folder}"])
def test_evaluate_refuses_before_the_work_what_cannot_be_written(
    run, tmp_path, capsys, no_work, target
):
    (tmp_path / "file").write_text("mine")
    target = target.format(file=tmp_path / "file", folder=tmp_path)
    assert f"--out {target}" in refused(capsys, "evaluate", run, "--out", target)
    assert not Path("/dev/null").is_file()


def test_own_results_are_replaced(run, tmp_path):
    assert main(["explain", str(run)]) == 0
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(run, elsewhere, ignore=shutil.ignore_patterns("*.ckpt", "args.json"))
    assert main(["explain", str(run), "--out", str(elsewhere)]) == 0
    (run / "dimensions.json").write_text("")  # of a full disk
    (run / "evaluation.json").write_text('{"method":')
    assert main(["explain", str(run)]) == 0
    assert json.loads((run / "dimensions.json").read_text())["classes"]
    shutil.copy(run / "evaluation.json", tmp_path / "e.json")
    (tmp_path / "empty.json").touch()
    for name in ("e.json", "empty.json"):
        assert main(["evaluate", str(run), "--out", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_text() == (run / "evaluation.json").read_text()


@pytest.mark.parametrize("name", ["report.html", "dimensions.csv", "thumbnails.jpg",
                                  "dimensions.json", "evaluation.json"])  # fmt: skip
def test_explain_replaces_no_file_of_the_user_s(run, tmp_path, capsys, no_work, name):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text('{"thesis": 1}')
    before = contents(tmp_path)
    assert f"{name} exists and is not" in refused(
        capsys, "explain", run, "--out", tmp_path / "mine"
    )
    assert contents(tmp_path) == before


def test_explain_refuses_an_image_before_the_work(run, tmp_path, capsys, no_work):
    (tmp_path / "cat.jpg").write_text("no image")
    assert "cannot be read as an image" in refused(
        capsys, "explain", run, "--image", tmp_path / "cat.jpg"
    )


def test_a_page_of_the_user_s_in_a_run_s_folder_stays(run, capsys, no_work):
    (run / "report.html").write_text("<p>mine, about solo-bayesncl")
    assert "report.html exists" in refused(capsys, "explain", run)
    assert (run / "report.html").read_text() == "<p>mine, about solo-bayesncl"


@pytest.mark.parametrize("content", ['[{"score": 3}]', '{"score": 3}\n{"score": 4}\n'])
def test_records_of_the_user_s_stay_whatever_they_are_called(
    run, tmp_path, capsys, no_work, content
):
    path = tmp_path / "evaluation.json"
    path.write_text(content)
    assert f"{path} exists" in refused(capsys, "evaluate", run, "--out", path)
    assert path.read_text() == content


@pytest.mark.parametrize("name", ["figures/gate.png", "report.html", "comparison.csv"])
def test_compare_replaces_no_file_of_the_user_s(images, tmp_path, capsys, no_work, name):
    out = tmp_path / "paper"
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).write_text("mine")
    message = refused(capsys, *arguments(images, out, "methods=[ncl]", "seeds=[0]"))
    assert f"out={out}: {out / name} exists and is not an earlier result" in message
    assert contents(out) == {name: b"mine"}


@pytest.mark.parametrize("target", ["/proc/out", "{file}", "{file}/out"])
def test_compare_import_and_data_refuse_before_the_work(
    images, run, tmp_path, capsys, no_work, target
):
    (tmp_path / "file").write_text("mine")
    target = target.format(file=tmp_path / "file")
    options = ["methods=[ncl]", "seeds=[0]"]
    assert f"out={target}" in refused(capsys, *arguments(images, target, *options))
    (checkpoint,) = run.glob("*.ckpt")
    assert f"--out {target}" in refused(capsys, "import", checkpoint, "--out", target)
    assert f"--out {target}" in refused(capsys, "data", "digits", "--out", target)
    assert f"--out {target}" in refused(capsys, "explain", run, "--out", target)


def test_export_replaces_neither_the_run_nor_another_record(run, tmp_path, capsys, no_work):
    (checkpoint,) = run.glob("*.ckpt")
    command = ["export", run, "--format", "torchvision", "--overwrite", "--out"]
    for path in (checkpoint, run / "args.json"):
        assert f"--out {path} is the run itself" in refused(capsys, *command, path)
    (tmp_path / "model.pt.json").write_text('{"mine": 1}')
    assert "model.pt.json exists and is not" in refused(capsys, *command, tmp_path / "model.pt")


@pytest.mark.parametrize("name", ["evaluate", "explain"])
def test_numbers_are_printed_where_writing_fails(run, tmp_path, capsys, monkeypatch, name):
    """The folder goes while the model is measured."""
    out = tmp_path / "out"
    out.mkdir()
    measure = record.measure

    def measure_meanwhile(model):
        out.rmdir()
        out.write_text("a file")
        return measure(model)

    monkeypatch.setattr(record, "measure", measure_meanwhile)
    target = out / "e.json" if name == "evaluate" else out
    assert main([name, str(run), "--out", str(target)]) == 2
    printed = capsys.readouterr()
    assert "consistency" in printed.out
    assert f"--out {target} cannot be written" in printed.err
    assert out.read_text() == "a file"


def test_table_of_a_comparison_is_printed_where_writing_fails(
    images, tmp_path, capsys, monkeypatch
):
    def disk_is_full(folder, *_):
        (folder / "begun.csv").write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results, "write_tables", disk_is_full)
    options = ["methods=[ncl]", "seeds=[0]", "linear=null"]
    assert main(arguments(images, tmp_path, *options)) == 2
    printed = capsys.readouterr()
    assert "semantic consistency" in printed.out
    assert f"out={tmp_path} cannot be written: No space left on device" in printed.err
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_file_is_written_where_nothing_can_be_printed(run, tmp_path, capsys, monkeypatch):
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stdout", full)
        assert main(["evaluate", str(run), "--out", str(tmp_path / "e.json")]) == 2
    assert "standard output cannot be written: No space left" in capsys.readouterr().err
    assert "codes" in json.loads((tmp_path / "e.json").read_text())


def test_a_symbolic_link_stays_one(run, tmp_path):
    (tmp_path / "link.json").symlink_to(tmp_path / "elsewhere.json")
    assert main(["evaluate", str(run), "--out", str(tmp_path / "link.json")]) == 0
    assert (tmp_path / "link.json").is_symlink()
    assert "codes" in json.loads((tmp_path / "elsewhere.json").read_text())


def test_second_comparison_in_a_folder_is_refused(images, tmp_path, capsys, no_work):
    with locked(tmp_path, name=results.LOCK):
        message = refused(capsys, *arguments(images, tmp_path, "methods=[ncl]", "seeds=[0]"))
    assert f"out={tmp_path}: another process is working on it" in message


# Paths


def test_home_folder_is_found_in_every_path_of_a_command(run, images, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(images, tmp_path / "data")
    metadata = "path,f\n" + "".join(
        f"{path.relative_to(tmp_path / 'data/val')},{number % 3}\n"
        for number, path in enumerate(sorted((tmp_path / "data/val").glob("*/*.png")))
    )
    (tmp_path / "m.csv").write_text(metadata)
    options = ["--data", "~/data", "--metadata", "~/m.csv", "--out", "~/e.json"]
    assert main(["evaluate", "~/run", *options]) == 0
    assert "f" in json.loads((tmp_path / "e.json").read_text())["factors"]
    image = "~/data/val/class_0/0.png"
    assert main(["explain", "~/run", "--image", image, "--out", "~/x"]) == 0
    assert (tmp_path / "x/report.html").is_file()
    options = ["--format", "safetensors", "--out", "~/m.safetensors"]
    assert main(["export", "~/run", *options]) == 0
    assert load_encoder("~/m.safetensors").describe(image).active
    assert not Path("~").exists()


def test_home_folder_is_found_in_a_recipe_s_file(images, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/ours.yaml").write_text(
        "root: ~/images\ndata: {train_path: '${root}/train', val_path: ~/val}\n"
        "checkpoint: {dir: ~}\nname: ~/n\n"
    )
    cfg = compose_recipe(str(tmp_path / "mine"), "ours", [])
    assert cfg.data.train_path == f"{tmp_path}/images/train"
    assert cfg.data.val_path == f"{tmp_path}/val"
    assert cfg.name == "~/n"


# Several commands at once


def in_a_process(*command: object) -> multiprocessing.Process:
    """A command in a process of its own, begun."""
    words = [str(word) for word in command]
    process = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(main(words)))
    process.start()
    return process


def test_commands_at_once_in_one_folder_do_not_mix(trained, images, tmp_path):
    """Two of them explain the run on other images: one whole set of files is left."""
    run = shutil.copytree(trained, tmp_path / "ncl" / trained.name)
    other = shutil.copytree(images, tmp_path / "other")
    for path in other.glob("val/*/3.png"):
        path.unlink()
    recipe = ["pretrain", "--config-path", RECIPES / "pretrain/custom", "--config-name", "ncl"]
    commands = [[*recipe, *tiny(images, tmp_path, f"seed={seed}")] for seed in (1, 2)]
    commands += [["explain", run], ["explain", run, "--data", other]]
    processes = [in_a_process(*command) for command in commands]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    names = ("evaluation.json", "dimensions.json")
    (samples,) = {json.loads((run / name).read_text())["samples"] for name in names}
    assert samples in (24, 18)
    assert f"<dt>Validation images</dt><dd>{samples}</dd>" in (run / "report.html").read_text()
    records = [json.loads(path.read_text()) for path in tmp_path.glob("ncl/*/args.json")]
    assert sorted(record["seed"] for record in records) == [1, 2, 5]
    for folder in (tmp_path / "ncl").iterdir():
        assert len(list(folder.glob("*.ckpt"))) == 1
