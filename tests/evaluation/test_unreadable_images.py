"""Images that cannot be read, from training to evaluation: named, or left out everywhere."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from conftest import RECIPES, make_images, only_run, tiny
from PIL import Image

from solo_bayesncl import load_encoder
from solo_bayesncl.__main__ import main
from solo_bayesncl.errors import InputError
from solo_bayesncl.evaluation.encoding import encode_splits
from solo_bayesncl.evaluation.options import Options
from solo_bayesncl.evaluation.record import Findings
from solo_bayesncl.runs import SKIPPED_IMAGES

RECIPE = ["--config-path", str(RECIPES / "pretrain/custom"), "--config-name", "bayesncl"]
SKIP = "data.on_corrupt=skip"
pytestmark = pytest.mark.usefixtures("narrow_backbone")


def copy_of(images: Path, folder: Path, *damaged: str) -> Path:
    """A copy of a data set with damaged files and a factor."""
    shutil.copytree(images, folder)
    files = sorted((folder / "val").glob("*/*.png"))
    lines = [f"val/{file.parent.name}/{file.name},{i % 3}" for i, file in enumerate(files)]
    (folder / "metadata.csv").write_text("\n".join(["path,third", *lines]) + "\n")
    for name in damaged:
        (folder / name).write_bytes((folder / name).read_bytes()[:60])
    return folder


@pytest.fixture(scope="module")
def run(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    assert main(["pretrain", *RECIPE, *tiny(images, out)]) == 0
    return only_run(out, "bayesncl")


# in the order in which they are read
DAMAGED = ("val/class_0/0.png", "val/class_4/2.png", "train/class_1/3.png")


def test_what_is_left_out_counts_nowhere(run, images, tmp_path):
    """All numbers, the table and the thumbnails are those of the data set without these files."""
    torch.manual_seed(0)
    weights = tmp_path / "weights.pth"
    torch.save(timm.create_model("resnet10t").state_dict(), weights)
    options = Options(
        device="cpu", workers=1, reference="resnet10t", reference_weights=weights, on_corrupt="skip"
    )
    skipped = copy_of(images, tmp_path / "skipped/data", *DAMAGED)
    removed = copy_of(images, tmp_path / "removed/data")
    for name in DAMAGED:
        (removed / name).unlink()
    found = {}
    for data in (skipped, removed):
        out = data.parent / "out"
        Findings.of(encode_splits(run, replace(options, data=data))).write(out)
        # the batches are others, and so is the rounding
        text = (out / "evaluation.json").read_text()
        found[data] = json.loads(text, parse_float=lambda digits: round(float(digits), 4))
    for name in ("dimensions.json", "dimensions.csv", "thumbnails.jpg"):
        contents = [(data.parent / "out" / name).read_bytes() for data in (skipped, removed)]
        assert contents[0] == contents[1], name
    first = [str(skipped / name) for name in DAMAGED]
    assert found[skipped].pop("skipped_images") == {"number": 3, "first": first}
    assert found[removed].pop("skipped_images") == {"number": 0, "first": []}
    (warning,) = found[skipped].pop("warnings")
    assert warning.startswith("3 images cannot be read and are left out: ")
    assert found[removed].pop("warnings") == []
    assert found[skipped]["samples"] == 22
    assert found[skipped]["factors"]
    for evaluation in found.values():
        del evaluation["data"]
    assert found[skipped] == found[removed]


def test_evaluate_names_the_file_of_the_data_that_was_given(run, images, tmp_path, capsys):
    data = copy_of(images, tmp_path / "data", "val/class_2/1.png")
    assert main(["evaluate", str(run), "--data", str(data), "--out", str(tmp_path / "e.json")]) == 2
    message = capsys.readouterr().err
    assert f"{data}/val/class_2/1.png cannot be read as an image: " in message
    assert "--on-corrupt skip" in message
    assert message.count("\n") == 1
    assert not (tmp_path / "e.json").exists()


def test_run_that_skips_lists_its_images_and_is_evaluated_in_the_same_way(images, tmp_path, capsys):
    data = copy_of(images, tmp_path / "data", *DAMAGED)
    settings = tiny(data, tmp_path / "out", "max_epochs=2")
    assert main(["pretrain", *RECIPE, *settings]) == 2
    message = capsys.readouterr().err
    assert "cannot be read as an image: " in message
    assert main(["pretrain", *RECIPE, *settings, SKIP]) == 0
    run = only_run(tmp_path / "out", "bayesncl")
    message = capsys.readouterr().err
    assert f"3 images cannot be read and are left out: {data}" in message
    assert f"listed in {run / SKIPPED_IMAGES}" in message
    lines = (run / SKIPPED_IMAGES).read_text().splitlines()
    assert {line.split("\t")[0] for line in lines} == {str(data / name) for name in DAMAGED}
    assert main(["evaluate", str(run), "--device", "cpu"]) == 0
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["skipped_images"]["number"] == 3
    assert evaluation["samples"] == 22


def test_skipping_and_the_limit_do_not_make_another_run(images, tmp_path, capsys):
    """So that a run which stopped at an image can go on."""
    settings = tiny(images, tmp_path, "auto_resume.enabled=True")
    for more in ([], [SKIP, "data.max_image_pixels=2000000000"]):
        capsys.readouterr()
        assert main(["pretrain", *RECIPE, *settings, *more]) == 0
    assert "That run is finished" in capsys.readouterr().err
    assert only_run(tmp_path, "bayesncl")


def test_linear_skips_and_names(run, images, tmp_path, capsys):
    data = copy_of(images, tmp_path / "data", *DAMAGED)
    command = [
        "linear", "--config-path", str(RECIPES / "linear/custom"), "--config-name", "ncl",
        f"pretrained_feature_extractor={run}", f"data.train_path={data}/train",
        f"data.val_path={data}/val", "data.num_workers=0", "optimizer.batch_size=8", "max_epochs=1",
        "data.augmentations.crop_size=16", "precision=32-true", "++enable_progress_bar=False",
        f"checkpoint.dir={tmp_path}",
    ]  # fmt: skip
    assert main(command) == 2
    assert "cannot be read as an image" in capsys.readouterr().err
    assert main([*command, SKIP]) == 0
    names = {line.split("\t")[0] for line in (only_run(tmp_path, "linear") / SKIPPED_IMAGES).open()}
    assert names == {str(data / name) for name in DAMAGED}


def test_limit_of_pixels_is_that_of_the_run_or_the_option(images, tmp_path, capsys):
    data = copy_of(images, tmp_path / "data")
    large = data / "val/class_0/large.png"
    Image.new("L", (200, 100)).save(large)
    with (data / "metadata.csv").open("a") as file:
        file.write("val/class_0/large.png,1\n")
    limit = "data.max_image_pixels=19999"
    settings = tiny(data, tmp_path / "out", SKIP, limit)
    assert main(["pretrain", *RECIPE, *settings]) == 0
    run = only_run(tmp_path / "out", "bayesncl")
    assert "limit of 19999 pixels" in (run / SKIPPED_IMAGES).read_text()
    evaluate = ["evaluate", str(run), "--device", "cpu"]
    assert main([*evaluate, "--on-corrupt", "stop"]) == 2
    message = capsys.readouterr().err
    assert f"{large} cannot be read as an image: Image size (20000 pixels) exceeds" in message
    assert main([*evaluate, "--on-corrupt", "stop", "--max-image-pixels", "20000"]) == 0
    with pytest.raises(InputError, match="limit of 19999 pixels"):
        load_encoder(run).describe(large)
    explain = ["explain", str(run), "--image", str(large), "--out", str(tmp_path / "explained")]
    assert main(explain) == 2
    assert main([*explain, "--max-image-pixels", "20000"]) == 0


def test_wrong_options_are_refused(run, capsys):
    assert main(["evaluate", str(run), "--on-corrupt", "ignore"]) == 2
    assert "--on-corrupt ignore: give stop or skip." in capsys.readouterr().err
    assert main(["evaluate", str(run), "--max-image-pixels", "0"]) == 2
    assert "--max-image-pixels 0: give an integer of at least 1" in capsys.readouterr().err


def test_export_names_an_unreadable_image_and_compares_the_others(images, tmp_path, capsys):
    data = copy_of(images, tmp_path / "data")
    assert main(["pretrain", *RECIPE, *tiny(data, tmp_path / "out")]) == 0
    (data / "val/class_0/0.png").write_bytes(b"")
    out = tmp_path / "encoder.safetensors"
    run = only_run(tmp_path / "out", "bayesncl")
    assert main(["export", str(run), "--format", "safetensors", "--out", str(out)]) == 0
    assert f"{data}/val/class_0/0.png cannot be read as an image" in capsys.readouterr().err
    record = json.loads(Path(f"{out}.json").read_text())
    assert record["agreement"]["real"] is not None


def test_all_validation_images_unreadable_is_one_message(run, tmp_path, capsys):
    make_images(tmp_path / "data/train", classes=2, per_class=2)
    make_images(tmp_path / "data/val", classes=2, per_class=2)
    for file in (tmp_path / "data/val").glob("*/*"):
        file.write_bytes(b"")
    command = ["evaluate", str(run), "--data", str(tmp_path / "data"), "--on-corrupt", "skip"]
    assert main(command) == 2
    assert "None of 4 images can be read. The first: " in capsys.readouterr().err
