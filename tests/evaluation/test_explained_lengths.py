"""Dimensions of codes that are cut to a length, beside an evaluation of codes as trained."""

import json

import pytest
from conftest import RECIPES, only_run, tiny

import solo_bayesncl
from solo_bayesncl import metrics
from solo_bayesncl.__main__ import main
from solo_bayesncl.evaluation.encoding import encode_splits
from solo_bayesncl.evaluation.explanation import explain
from solo_bayesncl.evaluation.options import Options

pytestmark = pytest.mark.usefixtures("narrow_backbone")


@pytest.fixture(scope="module")
def run(images, tmp_path_factory, narrow_backbone):
    """A BayesNCL run after one epoch."""
    out = tmp_path_factory.mktemp("run")
    recipe = ["--config-path", str(RECIPES / "pretrain/custom"), "--config-name", "bayesncl"]
    assert main(["pretrain", *recipe, *tiny(images, out)]) == 0
    return only_run(out, "bayesncl")


@pytest.fixture(scope="module")
def model(run):
    return encode_splits(run, Options())


def test_dimensions_are_those_of_the_cut_codes(model):
    table = explain(model, code_length=1).table
    assert table["code_length"] == 1
    assert table["code_threshold"] == metrics.cut_threshold(model.train.codes, 1) > 0
    codes = metrics.cut(model.val.codes, 1, reference=model.train.codes)
    support = (codes > metrics.ACTIVE).sum(dim=0)
    assert [d["support"] for d in table["dimensions"]] == support.tolist()
    largest = [d["top"][0][1] if d["top"] else 0 for d in table["dimensions"]]
    assert largest == pytest.approx(codes.max(dim=0).values.tolist(), abs=1e-4)
    as_trained = explain(model).table
    assert as_trained["code_length"] is as_trained["code_threshold"] is None
    assert [d["open_rate"] for d in table["dimensions"]] == [
        d["open_rate"] for d in as_trained["dimensions"]
    ]


def test_length_that_is_not_reached_leaves_the_dimensions(model, caplog):
    caplog.set_level("WARNING", "solo_bayesncl")
    long = explain(model, code_length=100).table
    assert (long.pop("code_length"), long.pop("code_threshold")) == (100, 0)
    assert long.items() <= explain(model).table.items()
    assert "no longer than that as trained" in caplog.text


def test_page_and_output_say_which_numbers_are_of_cut_codes(run, images, tmp_path, capsys):
    image = images / "val/class_0/0.png"
    folders = {}
    for name, options in (("plain", []), ("cut", ["--code-length", "1.5", "--image", str(image)])):
        folders[name] = tmp_path / name
        assert main(["explain", str(run), "--out", str(folders[name]), *options]) == 0
    printed = capsys.readouterr().out
    evaluations = [(folder / "evaluation.json").read_text() for folder in folders.values()]
    assert evaluations[0] == evaluations[1]
    threshold = json.loads((folders["cut"] / "dimensions.json").read_text())["code_threshold"]
    assert threshold > 0
    said = f"codes cut to length 1.5, entries above {threshold:.3g}; all other numbers are of codes"
    assert said in (folders["cut"] / "report.html").read_text()
    assert "cut to length" not in (folders["plain"] / "report.html").read_text()
    assert f"Codes are cut to length 1.5: entries above {threshold:.3g} are kept." in printed
    # the threshold is kept with the run, and the image is described as by its encoder
    encoder = solo_bayesncl.load_encoder(run, code_length=1.5)
    assert encoder.code_threshold == threshold
    active = encoder.describe(image).active
    assert f"{len(active)} active dimensions" in printed
    assert f"{active[0].value:.3f}" in printed


def test_quick_evaluation_and_its_page_say_that_probes_are_left_out(run, tmp_path):
    assert main(["explain", str(run), "--quick", "--out", str(tmp_path)]) == 0
    evaluation = json.loads((tmp_path / "evaluation.json").read_text())
    assert evaluation["quick"]
    as_trained = evaluation["code_lengths"]["as_trained"]
    assert as_trained["probe"] is evaluation["accuracy"]["probe_codes"] is None
    assert as_trained["knn"] == evaluation["accuracy"]["knn_codes"]
    assert set(evaluation["feature_selection"].values()) == {None}
    assert "<dd>left out (quick)</dd>" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("length", ["0", "nan"])
def test_length_that_is_not_above_zero_is_refused(run, tmp_path, capsys, length):
    assert main(["explain", str(run), "--code-length", length, "--out", str(tmp_path / "a")]) == 2
    assert f"--code-length {float(length)}: give a number above 0" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
