"""`demo --images DIR`: three methods on someone's own images, in one command."""

import json
from pathlib import Path

import pytest
from PIL import Image

from solo_bayesncl.__main__ import main
from solo_bayesncl.commands.compare import FOLDER
from solo_bayesncl.comparison.own_images import epochs_for, own_images_comparison
from solo_bayesncl.comparison.plan import Plan
from solo_bayesncl.data import make_own_images


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Images of two classes and two sizes."""
    folder = tmp_path_factory.mktemp("in") / "my photos, é"
    for label, name in enumerate(("cats", "dogs")):
        (folder / name).mkdir(parents=True)
        for index in range(50):
            color = (5 * index, 100 * label, 99)
            Image.new("RGB", (40, 30 + label), color).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture
def refused(capsys):
    """What a command that is refused prints."""

    def run(*arguments: str) -> str:
        assert main(["demo", *arguments]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        return printed.err

    return run


def test_the_demo_compares_three_methods_on_images_without_labels(
    photos, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("solo_bayesncl.comparison.plan.MOST_JOBS", 1)  # no processes to start
    monkeypatch.chdir(tmp_path)
    command = ["demo", "--images", str(photos / "cats"), "--epochs", "1", "--seeds", "0"]
    assert "at least 64 and 16" in _refusal(command, capsys)
    flat = tmp_path / "all"
    flat.mkdir()
    for path in photos.rglob("*.png"):
        (flat / f"{path.parent.name}-{path.name}").symlink_to(path)
    command[2] = str(flat)
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert printed.rstrip().endswith("Page: demo-all/comparison/report.html")
    result = json.loads(Path("demo-all/comparison/comparison.json").read_text())
    assert result["methods"] == ["simclr", "ncl", "bayesncl"]
    keys = {metric["key"] for metric in result["metrics"]}
    assert {"codes.monosemanticity", "codes.code_length", "code_lengths.3.active_dims"} < keys
    assert not [key for key in keys if "consistency" in key or "knn" in key or "entropy" in key]
    evaluation = json.loads(
        Path("demo-all/comparison/runs/bayesncl/seed-0/evaluation.json").read_text()
    )
    assert set(evaluation["accuracy"].values()) == {None}
    assert main(command) == 0  # nothing is trained again
    again = capsys.readouterr().out
    assert again == printed[printed.index(again.splitlines()[0]) :]


def _refusal(command: list[str], capsys) -> str:
    assert main(command) == 2
    return capsys.readouterr().err


def test_settings_fit_the_images(photos, tmp_path):
    made = make_own_images(tmp_path / "ou,t", images=photos)
    cfg = own_images_comparison(made, tmp_path / "ou,t", FOLDER, seeds=[4, 2])
    plan = Plan.of(cfg)
    assert plan.out == tmp_path / "ou,t/comparison"
    assert plan.seeds == (2, 4)
    for job in plan.jobs:
        assert job.cfg.data.train_path == str(made.train_path)
        assert not job.cfg.data.no_labels
        assert job.cfg.optimizer.batch_size == made.train_images == 76
        assert job.cfg.max_epochs == 200
        assert job.cfg.data.augment == "batch"


def test_epochs_make_up_for_the_number_of_images():
    assert [epochs_for(images) for images in (64, 500, 1000, 100_000)] == [200, 150, 75, 10]


def test_images_that_are_not_there_are_refused(refused, tmp_path):
    message = refused("--images", str(tmp_path / "nope"), "--out", str(tmp_path / "out"))
    assert f"{tmp_path}/nope is not a folder." in message
    assert not (tmp_path / "out").exists()


def test_max_images_is_for_own_images(refused):
    assert "--max-images 9: it is for --images DIR. Leave it out." in refused("--max-images", "9")


def test_too_small_a_choice_is_refused_by_the_name_of_its_flag(refused, photos, tmp_path):
    arguments = ("--images", str(photos), "--out", str(tmp_path), "--max-images", "9")
    assert "--max-images 9: give at least 100." in refused(*arguments)


def test_output_inside_of_the_images_is_refused(refused, photos, monkeypatch):
    monkeypatch.chdir(photos)
    message = refused("--images", ".")
    assert f"--out {photos / f'demo-{photos.name}'} is in {photos}" in message
    assert "Give a folder elsewhere." in message


def test_a_comparison_of_other_images_is_kept(refused, photos, tmp_path):
    (tmp_path / "comparison").mkdir()
    message = refused("--images", str(photos), "--out", str(tmp_path))
    assert f"--out {tmp_path} holds a comparison of other images. Give another folder" in message
    assert [path.name for path in tmp_path.iterdir()] == ["comparison"]
