"""Controls in a comparison: fitted to its runs, kept, and fitted again where a run has changed."""

import json
import shutil
from pathlib import Path

import pytest
from compare_runs import arguments, comparison
from test_divergence import NAN_LOSS

from solo_bayesncl.__main__ import main

pytestmark = pytest.mark.usefixtures("narrow_backbone")

RUN = ["methods=[ncl]", "seeds=[0]", "linear=null"]
NMF = "controls={parts:{of:ncl,kind:nmf}}"


@pytest.fixture(scope="module")
def compared(images, tmp_path_factory) -> Path:
    """NCL, and NMF of its features, which a launcher has fitted after the run."""
    out = tmp_path_factory.mktemp("controls") / "out"
    assert main(arguments(images, out, *RUN, NMF, "--multirun")) == 0
    return out


@pytest.fixture
def copy(compared, tmp_path) -> Path:
    return shutil.copytree(compared, tmp_path / "copy")


def run_alone(images: Path, out: Path, method: str, *options: str) -> int:
    """One job, without the tables and figures, which take most of the time."""
    return main(arguments(images, out, *RUN, NMF, *options, f"job.method={method}", "job.seed=0"))


def stamps(out: Path, method: str) -> dict[Path, int]:
    files = [*out.glob(f"runs/{method}/*/*.json"), *out.glob(f"runs/{method}/*/*/*/*.ckpt")]
    return {path: path.stat().st_mtime_ns for path in files}


def test_control_takes_part_as_a_method_does(compared):
    result = comparison(compared)
    assert result["methods"] == ["ncl", "parts"]
    folder = compared / "runs/parts/seed-0"
    evaluation = json.loads((folder / "evaluation.json").read_text())
    values = result["values"]["parts"]
    assert values["codes.semantic_consistency"] == [evaluation["codes"]["semantic_consistency"]]
    assert {(d["method"], d["against"]) for d in result["differences"]} == {("parts", "ncl")}
    assert result["settings"]["parts"]["control"]["kind"] == "nmf"
    assert result["runs"]["parts"] == ["runs/parts/seed-0"]
    assert "control.kind" in (compared / "report.html").read_text()
    assert {path.name for path in folder.iterdir()} >= {"dimensions.json", "thumbnails.jpg"}
    assert not list(folder.rglob("*.ckpt"))


def test_classifiers_of_the_method_are_not_those_of_its_control(compared):
    values = comparison(compared)["values"]
    assert values["ncl"]["accuracy.online_classifier"] != [None]
    assert values["parts"]["accuracy.online_classifier"] == [None]
    assert values["parts"]["accuracy.knn_backbone"] == values["ncl"]["accuracy.knn_backbone"]


def test_finished_control_is_kept_and_a_new_one_needs_no_training(images, copy, capsys):
    before = stamps(copy, "*")
    more = "controls={parts:{of:ncl,kind:nmf},few:{of:ncl,kind:nmf,dims:2,space:codes}}"
    assert main(arguments(images, copy, *RUN, more)) == 0
    assert stamps(copy, "*").items() >= before.items()
    told = capsys.readouterr().err
    assert "run 3 of 3: few, seed 0" in told
    assert "few: 2 dimensions explain" in told
    assert "run 1" not in told


@pytest.mark.parametrize(
    "changed", ["++controls.parts.dims=3", "++evaluation.precision=bf16-mixed"]
)
def test_other_settings_of_a_control_fit_it_again_but_train_nothing(images, copy, changed):
    run, control = stamps(copy, "ncl"), stamps(copy, "parts")
    assert run_alone(images, copy, "parts", changed) == 0
    assert not stamps(copy, "parts").items() & control.items()
    assert stamps(copy, "ncl") == run


@pytest.mark.parametrize("change", ["another setting", "trained again"])
def test_control_is_fitted_again_to_a_run_that_has_changed(images, copy, change, capsys):
    options = ["method_kwargs.temperature=0.3"] if change == "another setting" else []
    if change == "trained again":
        shutil.rmtree(copy / "runs/ncl")
    control = stamps(copy, "parts")
    assert run_alone(images, copy, "parts", *options) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "solo-bayesncl: parts, seed 0 is fitted to ncl, seed 0, which is not trained: first run "
        "job.method=ncl job.seed=0."
    )
    assert run_alone(images, copy, "ncl", *options) == 0
    assert run_alone(images, copy, "parts", *options) == 0
    assert not stamps(copy, "parts").items() & control.items()


def test_control_of_a_run_that_diverged_is_left_out_and_the_others_are_fitted(
    images, tmp_path, capsys
):
    hot = f"++variants={{hot: {{recipe: ncl, overrides: ['{NAN_LOSS}']}}}}"
    controls = "controls={of_hot:{of:hot,kind:nmf},parts:{of:ncl,kind:nmf}}"
    assert main(arguments(images, tmp_path, *RUN, "methods=[hot,ncl]", hot, controls)) == 2
    assert "hot, seed 0. Lower optimizer.lr" in capsys.readouterr().err.splitlines()[-1]
    evaluated = {path.parts[-3] for path in tmp_path.glob("runs/*/*/evaluation.json")}
    assert evaluated == {"ncl", "parts"}


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        ("{a:{of:simclr,kind:nmf}}", "controls.a.of=simclr: give one of methods=['ncl']."),
        ("{ncl:{of:ncl,kind:nmf}}", "controls.ncl: methods=['ncl'] has this name, too. Controls"),
        ("{/a:{of:ncl,kind:nmf}}", "controls: '/a' is a name that no folder can have."),
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
