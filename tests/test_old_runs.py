"""Runs and a comparison that an earlier version wrote still open: `old_runs/README.md`."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import solo_bayesncl
from solo_bayesncl.__main__ import main
from solo_bayesncl.evaluation.record import FORMAT

WRITTEN = Path(__file__).parent / "old_runs"
RUNS = {"1.0.2": "solo_learn_1_0_2", "main": "solo_learn_main"}
# by formats 5 and 7 of `evaluation.json`
ADDED = {"skipped_images", "quick", "code_lengths", "code_length", "code_threshold"}
# percent of the 60 images: one or two near a decision boundary may fall on its other side elsewhere
OF_IMAGES = {"accuracy", "feature_selection"}
TWO_IMAGES = 2 * 100 / 60

SETTINGS = [
    "data.train_path=digits/train",
    "data.val_path=digits/val",
    "data.num_workers=0",
    "augmentations.0.crop_size=16",
    "optimizer.batch_size=16",
    "method_kwargs.proj_hidden_dim=16",
    "method_kwargs.proj_output_dim=16",
    "precision=32-true",
    "accelerator=cpu",
    "++enable_progress_bar=False",
]
PROBE = [
    "linear.max_epochs=1",
    "linear.optimizer.batch_size=16",
    "linear.precision=32-true",
    "++linear.enable_progress_bar=False",
]


@pytest.fixture(scope="module")
def with_data(tmp_path_factory) -> Path:
    """The folder that `old_runs` was written in: with the digits, which its runs record."""
    folder = tmp_path_factory.mktemp("old_runs")
    shutil.copytree(WRITTEN, folder, dirs_exist_ok=True)
    sizes = ["--train-size", "160", "--val-size", "60", "--size", "16"]
    assert main(["data", "digits", "--out", str(folder / "digits"), *sizes]) == 0
    return folder


@pytest.fixture(autouse=True)
def folder(narrow_backbone, with_data, tmp_path, monkeypatch) -> Path:
    """A copy as the current folder, and the backbone of its runs."""
    copy = tmp_path / "copy"
    shutil.copytree(with_data, copy)
    monkeypatch.chdir(copy)
    return copy


@pytest.fixture(params=RUNS.values(), ids=RUNS.keys())
def run(request, folder) -> Path:
    """An interrupted run of each release of solo-learn."""
    return only_folder(Path(request.param))


def only_folder(runs: Path) -> Path:
    (found,) = (runs / "bayesncl").iterdir()
    return found


def of_installed_release() -> str:
    """Training goes on with the release that it began with: they record different settings."""
    from solo.methods.base import BaseMethod

    return RUNS["main" if hasattr(BaseMethod, "_BACKBONES") else "1.0.2"]


def flat(value, path: tuple = ()) -> dict[tuple, object]:
    """Nested values by their path, without versions."""
    if not isinstance(value, dict | list):
        return {path: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    parts = [flat(part, (*path, key)) for key, part in items if key != "versions"]
    return {name: content for part in parts for name, content in part.items()}


def assert_same(found: Path, recorded: Path) -> None:
    new, old = (flat(json.loads(path.read_text())) for path in (found, recorded))
    assert {name[0] for name in new.keys() - old.keys()} <= ADDED
    assert old.pop(("format",), 4) == 4
    for name, value in old.items():
        if isinstance(value, float):
            tolerance = TWO_IMAGES if OF_IMAGES & {*name} else 1e-5
            value = pytest.approx(value, rel=1e-4, abs=tolerance)
        assert new[name] == value, name


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def stamps(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_evaluate_gives_the_recorded_numbers(run):
    (run / "evaluation.json").unlink()
    assert main(["evaluate", str(run), "--device", "cpu"]) == 0
    assert_same(run / "evaluation.json", WRITTEN / run / "evaluation.json")


def test_explain_gives_the_recorded_table(run):
    for name in ("dimensions.json", "dimensions.csv", "evaluation.json"):
        (run / name).unlink()
    assert main(["explain", str(run), "--device", "cpu"]) == 0
    for name in ("dimensions.json", "evaluation.json"):
        assert_same(run / name, WRITTEN / run / name)
    new, old = (rows(path / "dimensions.csv") for path in (run, WRITTEN / run))
    assert [row.keys() for row in new] == [row.keys() for row in old]
    assert [row["owner"] for row in new] == [row["owner"] for row in old]
    assert (run / "report.html").exists()


def validation_images(encoder: torch.nn.Module) -> torch.Tensor:
    paths = sorted(Path("digits/val").glob("*/*.png"))
    return torch.stack([encoder.transform(Image.open(path)) for path in paths])


@torch.no_grad()
def test_load_encoder_gives_the_codes_that_were_measured(run):
    encoder = solo_bayesncl.load_encoder(run)
    codes = encoder(validation_images(encoder))
    assert codes.shape == (60, 16)
    recorded = json.loads((run / "evaluation.json").read_text())["codes"]
    assert float((codes > 0).sum(1).float().mean()) == pytest.approx(recorded["code_length"])
    table = json.loads((run / "dimensions.json").read_text())
    support = [dimension["support"] for dimension in table["dimensions"]]
    assert (codes > 0).sum(0).tolist() == support
    owners = {d["index"]: table["classes"][d["owner"]] for d in table["dimensions"] if d["support"]}
    described = encoder.describe(next(Path("digits/val").glob("*/*.png"))).active
    assert described
    assert all(dimension.owner == owners[dimension.index] for dimension in described)


@torch.no_grad()
def test_export_writes_an_encoder_with_the_same_codes(run):
    out = Path("encoder.safetensors")
    assert main(["export", str(run), "--format", "safetensors", "--out", str(out)]) == 0
    encoder = solo_bayesncl.load_encoder(run)
    images = validation_images(encoder)
    codes = solo_bayesncl.load_encoder(out)(images)
    torch.testing.assert_close(codes, encoder(images))


def test_the_command_of_an_interrupted_run_continues_it_in_its_folder():
    runs = Path(of_installed_release())
    run = only_folder(runs)
    before = rows(run / "metrics.csv")
    recipe = ["--config-path", "scripts/pretrain/custom", "--config-name", "bayesncl"]
    assert main(["pretrain", *recipe, *SETTINGS, "max_epochs=3", f"checkpoint.dir={runs}"]) == 0
    assert only_folder(runs) == run
    (checkpoint,) = run.glob("*.ckpt")
    assert checkpoint.name.endswith("-ep=2.ckpt")
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 3 * (160 // 16)
    after = rows(run / "metrics.csv")
    for old, new in zip(before, after[: len(before)], strict=True):
        assert new | old == new
    epochs = [row["epoch"] for row in after if row["train_nce_loss_epoch"]]
    assert epochs == ["0", "1", "2"]


COMPARE = [
    "compare", "--config-name", "custom", "methods=[ncl,bayesncl]", "seeds=[0,1]",
    "out=comparison", "evaluation.device=cpu", *SETTINGS, "max_epochs=1", *PROBE,
]  # fmt: skip


def test_compare_evaluates_anew_what_an_earlier_format_holds_and_trains_nothing():
    def trained():
        files = stamps(Path("comparison/runs"))
        return {file: files[file] for file in files if (file.parent / "args.json").exists()}

    before = trained()
    assert main(COMPARE) == 0
    assert trained() == before
    evaluations = list(Path("comparison/runs").rglob("evaluation.json"))
    assert len(evaluations) == 4
    for evaluation in evaluations:
        assert json.loads(evaluation.read_text())["format"] == FORMAT
        assert_same(evaluation, WRITTEN / evaluation)


def test_compare_finds_every_run_finished_and_writes_the_recorded_comparison():
    """As if the installed version had evaluated them."""
    out = Path("comparison")
    for path in out.rglob("job.json"):
        record = json.loads(path.read_text())
        record["inputs"]["evaluation"]["format"] = FORMAT
        path.write_text(json.dumps(record))
    before = stamps(out / "runs")
    assert len([path for path in before if path.suffix == ".ckpt"]) == 8
    results = [path for path in out.iterdir() if path.is_file()]
    for path in results:
        path.unlink()
    assert main(COMPARE) == 0
    assert stamps(out / "runs") == before
    new, old = (
        flat(json.loads((folder / "comparison.json").read_text()))
        for folder in (out, WRITTEN / out)
    )
    assert unchanged(new) == pytest.approx(unchanged(old))
    # with two seeds
    assert {value for name, value in new.items() if name[-1] == "significant"} == {None}
    for name in ("comparison.csv", "differences.csv"):
        new, old = (rows(folder / name) for folder in (out, WRITTEN / out))
        assert [list(row) for row in new] == [list(row) for row in old]
    for name in ("comparison.md", "comparison.tex"):
        assert cells(out / name) == cells(WRITTEN / out / name)
    assert (out / "report.html").exists()


# three seeds are needed to judge, and tables show the kNN of codes beside that of cut ones
CHANGED = {"significant", "sentences", "headline"}


def unchanged(record: dict[tuple, object]) -> dict[tuple, object]:
    return {name: value for name, value in record.items() if not CHANGED & {*name}}


def cells(path: Path) -> list[list[str]]:
    """Rows of the tables, without rules, verdicts and the kNN of codes."""
    rows = [re.split(r"[|&]", line) for line in path.read_text().splitlines()]
    rows = [[cell.strip(" -\\") for cell in row] for row in rows if len(row) > 1]
    return [
        [cell for cell in row if cell and not re.search("significant|judged", cell)]
        for row in rows
        if not any(cell == "kNN top-1, codes" for cell in row)
    ]


def resume(run: Path, checkpoint: Path) -> int:
    """The exit status of pretraining from a checkpoint, with the run's settings."""
    recipe = ["--config-path", "scripts/pretrain/custom", "--config-name", "bayesncl"]
    given = [f"checkpoint.dir={run.parents[1]}", f"resume_from_checkpoint={checkpoint}"]
    return main(["pretrain", *recipe, *SETTINGS, "max_epochs=2", *given])


def test_checkpoint_of_either_release_is_resumed_with_its_schedule(run, capsys):
    """Two epochs of a warmup of ten, of 10 steps each; 1.0.2's LARS saves fewer options."""
    (checkpoint,) = run.glob("*.ckpt")
    status = resume(run, checkpoint)
    if of_installed_release() == RUNS["1.0.2"] != run.parts[0]:
        assert status == 2
        assert "Lightning 2.1.2 wrote it, and 1.9.5 is installed" in capsys.readouterr().err
        return
    assert status == 0
    content = torch.load(max(run.glob("*.ckpt")), weights_only=True)
    assert content["global_step"] == 20
    backbone, *_ = content["optimizer_states"][0]["param_groups"]
    assert backbone["lr"] == pytest.approx(3e-5 + (0.025 - 3e-5) * 20 / 99)


def test_checkpoint_of_weights_alone_is_not_resumed(capsys):
    run = only_folder(Path(of_installed_release()))
    (checkpoint,) = run.glob("*.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    del content["optimizer_states"]
    torch.save(content, checkpoint)
    assert resume(run, checkpoint) == 2
    message = capsys.readouterr().err
    assert f"cannot resume from {checkpoint}: it holds weights but no optimizer state" in message
