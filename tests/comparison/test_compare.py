"""The comparison through its command: real runs on tiny data, killed, repeated, launched."""

import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pytest
from compare_runs import arguments, comparison
from conftest import environment, solo_bayesncl

from solo_bayesncl.__main__ import main

pytestmark = pytest.mark.usefixtures("narrow_backbone")

# with a loader process, whose random numbers are drawn apart from the main one's
TWO_BY_TWO = ["methods=[ncl,bayesncl_gs]", "seeds=[1,0]", "max_epochs=2", "data.num_workers=1"]


@pytest.fixture(scope="module")
def compared(images, tmp_path_factory) -> Path:
    """NCL and BayesNCL (GS) at seeds 0 and 1."""
    out = tmp_path_factory.mktemp("comparison") / "out"
    assert main(arguments(images, out, *TWO_BY_TWO)) == 0
    return out


def numbers(out: Path) -> dict:
    """Everything that a comparison says, without the names of its runs' folders."""
    return {key: value for key, value in comparison(out).items() if key != "runs"}


def stamps(out: Path) -> dict[Path, int]:
    files = [*out.glob("runs/*/*/*.json"), *out.glob("runs/*/*/*/*/*.ckpt")]
    return {path: path.stat().st_mtime_ns for path in files}


def test_comparison_leaves_tables_figures_page_and_runs(compared):
    names = {path.name for path in compared.iterdir()}
    assert names == {
        "comparison.json", "comparison.csv", "comparison.md", "comparison.tex", "differences.csv",
        "figures", "report.html", "runs",
    }  # fmt: skip
    assert len(list((compared / "figures").glob("*.png"))) >= 4
    result = comparison(compared)
    assert (result["methods"], result["seeds"]) == (["ncl", "bayesncl_gs"], [0, 1])
    assert result["optimizer_steps"] == {"ncl": [6, 6], "bayesncl_gs": [6, 6]}
    assert result["versions"]["torch"] == version("torch")
    assert result["settings"]["ncl"]["method_kwargs"]["non_neg"] == "rep_relu"
    for method in result["methods"]:
        accuracies = result["values"][method]["accuracy.linear_backbone"]
        assert all(0 <= accuracy <= 100 for accuracy in accuracies)
        for name, seed in zip(result["runs"][method], (0, 1), strict=True):
            folder = compared / "runs" / method / f"seed-{seed}"
            evaluation = json.loads((folder / "evaluation.json").read_text())
            expected = evaluation["codes"]["semantic_consistency"]
            assert result["values"][method]["codes.semantic_consistency"][seed] == expected
            assert (compared / name).is_relative_to(folder)
            assert json.loads((compared / name / "args.json").read_text())["seed"] == seed
    page = (compared / "report.html").read_text()
    assert "bayesncl_gs" in page
    assert "not judged below 3" in page


def test_what_is_finished_is_not_done_again(compared, images, capsys):
    before, told = stamps(compared), numbers(compared)
    assert main(arguments(images, compared, *TWO_BY_TWO)) == 0
    assert stamps(compared) == before
    assert numbers(compared) == told
    printed = capsys.readouterr()
    assert "run 1 of 4" not in printed.err
    assert "to do" not in printed.err
    assert "chance-adjusted" in printed.out.lower()
    assert f"Page: {compared / 'report.html'}" in printed.out


def test_another_setting_of_a_run_is_another_run(compared, images, tmp_path, capsys):
    copy = tmp_path / "moved"
    shutil.copytree(compared, copy)
    link = tmp_path / "link"
    link.symlink_to(images)
    assert main(arguments(link, copy, *TWO_BY_TWO, "seeds=[0]", "methods=[ncl]")) == 0
    # found in its new place, on the same images under another path
    assert "run 1 of 1" not in capsys.readouterr().err
    more = ["seeds=[0]", "methods=[ncl]", "method_kwargs.temperature=0.3"]
    assert main(arguments(images, copy, *TWO_BY_TWO, *more)) == 0
    told = capsys.readouterr().err
    assert "1 run to do: 2 epochs (6 steps) of pretraining, 1 epoch (3 steps) of linear" in told
    assert "run 1 of 1: ncl, seed 0" in told
    assert len([p for p in (copy / "runs/ncl/seed-0/ncl").iterdir() if p.is_dir()]) == 2


def test_what_is_trained_is_only_evaluated_again(compared, images, tmp_path, capsys):
    copy = shutil.copytree(compared, tmp_path / "copy")
    record = copy / "runs/ncl/seed-0/job.json"
    content = json.loads(record.read_text())
    content["inputs"]["evaluation"] = {}  # as after an upgrade
    record.write_text(json.dumps(content))
    assert main(arguments(images, copy, *TWO_BY_TWO, "methods=[ncl]")) == 0
    assert "1 run to do, 1 of 2 are finished: their evaluations\n" in capsys.readouterr().err


def test_measured_comparison_has_the_same_numbers_and_no_other_files(
    compared, images, tmp_path, monkeypatch, capsys, request
):
    from solo_bayesncl.comparison import estimate

    # not below tmp_path: the sockets of loader processes, which are here, need a short path
    temporary = Path(tempfile.mkdtemp())
    request.addfinalizer(partial(shutil.rmtree, temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(estimate, "LONG", 0)  # it is long enough to be measured
    out = tmp_path / "out"
    options = ["methods=[bayesncl_gs]", "linear=null"]
    assert main(arguments(images, out, *TWO_BY_TWO, *options)) == 0
    told = capsys.readouterr().err
    assert re.search(r"measuring .*\n.*: about [\d.]+ \w+ on this machine\n", told)
    assert re.search(r"run 1 of 2.*: about [\d.]+ \w+ left\n.*run 2 of 2", told, re.DOTALL)
    assert told.count(" left\n") == 1
    expected = comparison(compared)["values"]["bayesncl_gs"]
    found = comparison(out)["values"]["bayesncl_gs"]
    assert found == {key: expected[key] for key in found}
    assert not list(temporary.iterdir())
    assert {path.name for path in out.iterdir()} == {path.name for path in compared.iterdir()}


def test_other_evaluations_of_a_run_do_not_change_the_table(compared, images, jpegs):
    told, run = numbers(compared), compared / comparison(compared)["runs"]["ncl"][0]
    assert main(["evaluate", str(run), "--data", str(jpegs)]) == 0
    assert main(arguments(images, compared, *TWO_BY_TWO)) == 0
    assert numbers(compared) == told


def test_figures_of_an_earlier_comparison_do_not_stay_but_those_of_the_user_do(
    compared, images, tmp_path
):
    copy = tmp_path / "copy"
    shutil.copytree(compared, copy)
    (copy / "figures/factors.png").write_bytes(b"of another time")
    for name in ("figures/mine.png", "figures/figure.svg", "thesis.tex"):
        (copy / name).write_text("mine")
    assert main(arguments(images, copy, *TWO_BY_TWO)) == 0
    assert not (copy / "figures/factors.png").exists()
    for name in ("figures/mine.png", "figures/figure.svg", "thesis.tex"):
        assert (copy / name).read_text() == "mine"
    assert (copy / "figures/gate.png").exists()


@pytest.mark.parametrize("linear", ["linear", "null"])
def test_one_run_alone_is_what_a_launcher_starts(images, tmp_path, linear, capsys):
    more = ["linear=null"] if linear == "null" else []
    options = [*TWO_BY_TWO, "max_epochs=1", *more, "job.method=ncl", "job.seed=1"]
    assert main(arguments(images, tmp_path, *options)) == 0
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.glob("runs/*/*")] == [
        "runs/ncl/seed-1"
    ]
    assert (tmp_path / "runs/ncl/seed-1/linear").exists() == (linear == "linear")
    assert not (tmp_path / "comparison.json").exists()
    assert "without job.method and job.seed" in capsys.readouterr().err


def test_comparison_killed_at_any_point_ends_with_the_same_table(compared, images, tmp_path):
    """In training, between training and probe, in the second run; then it is let through."""
    command = [sys.executable, "-m", "solo_bayesncl", *arguments(images, tmp_path, *TWO_BY_TWO)]
    for sign in ("ncl/seed-0/ncl/*/*-ep=0.ckpt", "ncl/seed-0/linear/*/args.json",
                 "bayesncl_gs/seed-1/bayesncl/*/*-ep=0.ckpt"):  # fmt: skip
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
        )
        deadline = time.monotonic() + 200
        while not list(tmp_path.glob(f"runs/{sign}")):
            assert process.poll() is None, f"finished before {sign}"
            assert time.monotonic() < deadline, sign
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert main(arguments(images, tmp_path, *TWO_BY_TWO)) == 0
    assert numbers(tmp_path) == numbers(compared)
    for name in ("comparison.md", "comparison.csv", "differences.csv", "comparison.tex"):
        assert (tmp_path / name).read_text() == (compared / name).read_text()


def test_hydra_launcher_runs_the_same_comparison_in_processes(compared, images, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="not installed: launchers")
    launcher = ["--multirun", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    done = solo_bayesncl(*arguments(images, tmp_path, *TWO_BY_TWO, *launcher))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Page: " in done.stdout
    assert "4 runs to do: 8 epochs (24 steps) of pretraining, 4 epochs (12 steps)" in done.stderr
    assert numbers(tmp_path) == numbers(compared)


def test_runs_at_a_time_give_the_same_comparison(compared, images, tmp_path):
    done = solo_bayesncl(*arguments(images, tmp_path, *TWO_BY_TWO, "n_jobs=2"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "2 runs at a time; what each prints is in" in done.stderr
    assert re.search(r"is done, 1 of 4\n.*: about [\d.]+ \w+ left\n", done.stderr)
    assert len(list(tmp_path.glob("runs/*/seed-*/log.txt"))) == 4
    assert numbers(tmp_path) == numbers(compared)
