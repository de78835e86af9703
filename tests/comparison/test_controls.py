"""Controls in a comparison: fitted to its runs, kept, and fitted again where a run has changed."""

import json
import shutil
from pathlib import Path

import pytest
from compare_runs import arguments, comparison

from solo_bayesncl.__main__ import main

pytestmark = pytest.mark.usefixtures("narrow_backbone")

RUN = ["methods=[ncl]", "seeds=[0]", "linear=null"]
NMF = "controls={parts:{of:ncl,kind:nmf}}"


@pytest.fixture(scope="module")
def compared(images, tmp_path_factory) -> Path:
    """NCL, and NMF of its features, at two seeds."""
    out = tmp_path_factory.mktemp("controls") / "out"
    assert main(arguments(images, out, *RUN, "seeds=[0,1]", NMF)) == 0
    return out


@pytest.fixture
def copy(compared, tmp_path) -> Path:
    return shutil.copytree(compared, tmp_path / "copy")


def stamps(out: Path, method: str) -> list[int]:
    names = ("evaluation.json", "job.json", "*/*/*.ckpt")
    return [p.stat().st_mtime_ns for name in names for p in out.glob(f"runs/{method}/*/{name}")]


def test_control_takes_part_as_a_method_does(compared):
    result = comparison(compared)
    assert result["methods"] == ["ncl", "parts"]
    for key in ("codes.semantic_consistency", "code_lengths.1.adjusted_consistency"):
        for method in result["methods"]:
            evaluations = [
                json.loads((compared / f"runs/{method}/seed-{seed}/evaluation.json").read_text())
                for seed in (0, 1)
            ]
            for name in key.split("."):
                evaluations = [evaluation[name] for evaluation in evaluations]
            assert result["values"][method].get(key, evaluations) == evaluations
    pairs = {(d["method"], d["against"]) for d in result["differences"]}
    assert pairs == {("parts", "ncl")}
    assert result["settings"]["parts"]["control"]["kind"] == "nmf"
    assert result["runs"]["parts"] == ["runs/parts/seed-0", "runs/parts/seed-1"]
    page = (compared / "report.html").read_text()
    assert "control.kind" in page
    folder = compared / "runs/parts/seed-0"
    assert {path.name for path in folder.iterdir()} >= {"dimensions.json", "thumbnails.jpg"}
    assert not list(folder.rglob("*.ckpt"))


def test_classifiers_of_the_method_are_not_those_of_its_control(compared):
    values = comparison(compared)["values"]
    assert values["parts"]["accuracy.online_classifier"] == [None, None]
    assert values["parts"]["accuracy.knn_backbone"] == values["ncl"]["accuracy.knn_backbone"]


def test_finished_control_is_kept_and_a_new_one_needs_no_training(compared, images, copy, capsys):
    before = stamps(copy, "ncl") + stamps(copy, "parts")
    more = "controls={parts:{of:ncl,kind:nmf},few:{of:ncl,kind:nmf,dims:2,space:codes}}"
    assert main(arguments(images, copy, *RUN, more)) == 0
    assert stamps(copy, "ncl") + stamps(copy, "parts") == before
    told = capsys.readouterr().err
    assert "run 3 of 3: few, seed 0" in told
    assert "few: 2 dimensions explain" in told
    assert "run 1" not in told


@pytest.mark.parametrize(
    ("options", "trained"),
    [
        ([NMF.replace("nmf", "nmf,dims:3")], False),
        ([NMF, "evaluation.precision=bf16-mixed"], False),
        ([NMF, "method_kwargs.temperature=0.3"], True),
    ],
)
def test_control_is_fitted_again_if_it_or_its_run_has_changed(images, copy, options, trained):
    shutil.rmtree(copy / "runs/parts/seed-1")
    before, checkpoints = stamps(copy, "parts"), set(copy.rglob("seed-0/**/*.ckpt"))
    assert main(arguments(images, copy, *RUN, *options)) == 0
    assert not set(before) & set(stamps(copy, "parts"))
    assert bool(set(copy.rglob("seed-0/**/*.ckpt")) - checkpoints) == trained


def test_control_of_a_run_that_was_trained_again_is_fitted_again(images, copy, capsys):
    shutil.rmtree(copy / "runs/ncl/seed-0")
    assert main(arguments(images, copy, *RUN, NMF)) == 0
    assert "run 2 of 2: parts, seed 0" in capsys.readouterr().err


def test_control_alone_needs_its_run(compared, images, copy, tmp_path, capsys):
    alone = [*RUN, NMF, "job.method=parts", "job.seed=0"]
    assert main(arguments(images, tmp_path / "new", *alone)) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "solo-bayesncl: parts, seed 0 is fitted to ncl, seed 0, which is not trained: first run "
        "job.method=ncl job.seed=0."
    )
    shutil.rmtree(copy / "runs/parts")
    assert main(arguments(images, copy, *alone)) == 0
    assert (copy / "runs/parts/seed-0/evaluation.json").is_file()


def test_launcher_fits_controls_after_the_runs(images, tmp_path):
    assert main(arguments(images, tmp_path, *RUN, NMF, "--multirun")) == 0
    assert comparison(tmp_path)["methods"] == ["ncl", "parts"]


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        ("{a:{of:simclr,kind:nmf}}", "controls.a.of=simclr: give one of methods=['ncl']."),
        ("{ncl:{of:ncl,kind:nmf}}", "controls.ncl: methods=['ncl'] has this name, too. Controls"),
        ("{a:{of:ncl}}", "controls.a.kind is missing: give one of topk_sae, l1_sae, nmf."),
        ("{a:{of:ncl,kind:pca}}", "controls.a.kind='pca': give one of topk_sae, l1_sae, nmf."),
        ("{a:{of:ncl,kind:nmf,k:3}}", "a control of kind=nmf has no k. Its options are: of, kind,"),
        ("{a:{of:ncl,kind:topk_sae,k:0}}", "controls.a.k=0: give an integer of at least 1."),
        ("{a:{of:ncl,kind:nmf,size:1}}", "controls.a.size is not a setting of a control."),
    ],
)
def test_wrong_control_is_told_before_anything_runs(images, tmp_path, controls, message, capsys):
    assert main(arguments(images, tmp_path, *RUN, f"controls={controls}")) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_missing_library_is_told_before_anything_runs(images, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    controls = "controls={a:{of:ncl,kind:topk_sae}}"
    assert main(arguments(images, tmp_path, *RUN, controls)) == 2
    assert 'controls.a.kind=topk_sae needs SAELens: pip install "' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
