"""Comparisons, evaluations and explanations of images without labels: what needs none is there."""

import json
import shutil
from pathlib import Path

import pytest
from compare_runs import arguments, comparison

import solo_bayesncl
from solo_bayesncl.__main__ import main

pytestmark = pytest.mark.usefixtures("narrow_backbone")

BY_LABEL = ("consistency", "knn", "entropy", "probe", "retrieval", "classifier", "coverage")


@pytest.fixture(scope="module")
def flat(images, tmp_path_factory) -> Path:
    """The images of both splits without their classes."""
    folder = tmp_path_factory.mktemp("flat")
    for path in sorted(images.rglob("*.png")):
        target = folder / path.relative_to(images).parts[0] / f"{path.parent.name}-{path.name}"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    return folder


@pytest.fixture(scope="module")
def compared(flat, tmp_path_factory) -> Path:
    """BayesNCL without labels, in a comparison that would train a probe with them."""
    out = tmp_path_factory.mktemp("comparison") / "out"
    options = ("methods=[bayesncl]", "seeds=[0]", "data.no_labels=True")
    assert main(arguments(flat, out, *options)) == 0
    return out


@pytest.fixture(scope="module")
def run(compared) -> Path:
    """The run of the comparison."""
    return compared / comparison(compared)["runs"]["bayesncl"][0]


def test_a_comparison_without_labels_has_what_needs_none(compared):
    keys = {metric["key"] for metric in comparison(compared)["metrics"]}
    assert {"codes.code_length", "codes.monosemanticity", "gate.open_rate"} < keys
    assert {"code_lengths.1.active_dims", "backbone.effective_rank"} < keys
    assert not [key for key in keys for word in BY_LABEL if word in key]


def test_what_needs_no_labels_is_what_it_is_with_them(compared, run, images, tmp_path):
    """The same images, which the class folders hold in the same order."""
    assert (
        main(["evaluate", str(run), "--data", str(images), "--out", str(tmp_path / "x.json")]) == 0
    )
    labelled = json.loads((tmp_path / "x.json").read_text())
    unlabelled = json.loads((compared / "runs/bayesncl/seed-0/evaluation.json").read_text())
    for space in ("backbone", "projections", "gate", "codes"):
        known = {name: v for name, v in unlabelled[space].items() if v is not None}
        assert len(known) >= 10
        assert known == pytest.approx({name: labelled[space][name] for name in known}, rel=1e-5)
        unknown = unlabelled[space].keys() - known.keys()
        assert "shuffled_label_null" in unknown
    assert labelled["codes"]["semantic_consistency"] is not None
    for length, row in unlabelled["code_lengths"].items():
        assert row["active_dims"] == labelled["code_lengths"][length]["active_dims"]


def test_dimensions_without_labels_have_images_and_no_owner(compared):
    table = json.loads((compared / "runs/bayesncl/seed-0/dimensions.json").read_text())
    assert (table["classes"], table["class_samples"]) == ([], [])
    live = [row for row in table["dimensions"] if row["support"]]
    assert live
    for row in live:
        assert (row["owner"], row["consistency"], row["class_counts"]) == (None, None, [])
        assert row["top"]
    assert {tile["label"] for tile in table["thumbnails"]["tiles"]} == {None}


def test_a_run_without_labels_is_evaluated_and_explained(run, flat, tmp_path, capsys):
    assert main(["evaluate", str(run), "--out", str(tmp_path / "evaluation.json")]) == 0
    printed = capsys.readouterr().out
    assert "monosemanticity" in printed
    assert "consistency" not in printed
    image = str(next(flat.glob("val/*.png")))
    assert main(["explain", str(run), "--out", str(tmp_path / "explained"), "--image", image]) == 0
    printed = capsys.readouterr().out
    assert "monosemanticity" in printed
    assert "classifier" not in printed
    assert main(["explain", str(run), "--out", str(tmp_path / "explained")]) == 0
    assert "from the highest to the lowest monosemanticity" in capsys.readouterr().out
    described = solo_bayesncl.load_encoder(run).describe(image)
    assert described.active
    assert all(dimension.owner is None for dimension in described.active)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.val_path=null", "data.val_path=null: a comparison measures validation images"),
        ("data.val_path=nope", "data.val_path=nope is not a folder."),
        ("data.val_path={images}/val", "has folders in it, such as class_0; data.no_labels=True"),
        ("data.dataset=cifar10", "data.no_labels=True: a comparison without labels is of image f"),
    ],
)
def test_validation_images_without_labels_must_be_there(
    flat, images, tmp_path, capsys, override, message
):
    override = override.format(images=images)
    command = arguments(flat, tmp_path / "out", "methods=[ncl]", "data.no_labels=True", override)
    assert main(command) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_steps_of_images_without_labels_are_counted(flat, tmp_path, capsys):
    command = arguments(flat, tmp_path / "out", "methods=[ncl]", "seeds=[0]", "data.no_labels=True")
    assert main([*command, "optimizer.batch_size=999"]) == 2  # refused after it is counted
    assert "(0 steps)" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    main([*command, "++limit_train_batches=2"])
    assert "1 epoch (2 steps) of pretraining" in capsys.readouterr().err
