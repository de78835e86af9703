"""A folder of someone's own images: what is recognised, how it is split, and what is read."""

import json
import logging
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from solo_bayesncl import files
from solo_bayesncl.data import own_images
from solo_bayesncl.data.own_folder import UNLABELLED, find_own_images
from solo_bayesncl.data.own_images import make_own_images
from solo_bayesncl.data.squares import square
from solo_bayesncl.errors import ArgumentError, InputError


def fill(folder: Path, number: int, suffix: str = ".png") -> Path:
    """A folder of so many different images."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(number):
        Image.new("RGB", (8, 6), (index % 256, 99, 7)).save(folder / f"{index:03}{suffix}")
    return folder


def number(classes: dict[str, list[Path]]) -> dict[str, int]:
    return {name: len(paths) for name, paths in classes.items()}


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, without following links."""
    return {
        str(Path(root, name).relative_to(folder)): (
            None if Path(root, name).is_symlink() else Path(root, name).read_bytes()
        )
        for root, _, names in os.walk(folder)
        for name in names
    }


def test_images_of_all_depths_belong_to_the_top_class(tmp_path):
    fill(tmp_path / "animals/birds/parrots/small", 3)
    fill(tmp_path / "animals", 1)
    fill(tmp_path / "plants/trees", 2)
    found = find_own_images(tmp_path)
    assert number(found.train) == {"animals": 4, "plants": 2}
    assert found.val is None


@pytest.mark.parametrize("name", ["val", "valid", "Validation", "test"])
def test_a_split_is_kept_whatever_its_name(tmp_path, name):
    for split in ("train", name, "annotations"):
        fill(tmp_path / split / "a", 2)
        fill(tmp_path / split / "b", 1)
    found = find_own_images(tmp_path)
    assert number(found.train) == number(found.val) == {"a": 2, "b": 1}
    assert found.roots == {"train": tmp_path / "train", "val": tmp_path / name}


def test_of_several_validation_splits_test_is_the_last_choice(tmp_path, caplog):
    caplog.set_level(logging.INFO, "solo_bayesncl")
    for split in ("train", "test", "valid"):
        fill(tmp_path / split / "a", 2)
        fill(tmp_path / split / "b", 1)
    assert find_own_images(tmp_path).roots["val"] == tmp_path / "valid"
    assert "trained on train, validated on valid; left out: test" in caplog.text


def test_a_class_may_be_called_train(tmp_path):
    for name in ("bus", "car", "train"):
        fill(tmp_path / name, 1)
    assert [*find_own_images(tmp_path).train] == ["bus", "car", "train"]


def test_training_images_are_split_where_test_images_have_no_labels(tmp_path, caplog):
    caplog.set_level(logging.INFO, "solo_bayesncl")
    fill(tmp_path / "train/a", 2)
    fill(tmp_path / "train/b", 2)
    fill(tmp_path / "test", 5)
    found = find_own_images(tmp_path)
    assert number(found.train) == {"a": 2, "b": 2}
    assert found.val is None
    assert "test has no class folders and is left out; train is split" in caplog.text


def test_one_validated_class_is_a_class(tmp_path):
    for folder in ("train/cat", "train/dog", "val/photos/cat"):
        fill(tmp_path / folder, 2)
    found = find_own_images(tmp_path)
    assert number(found.val) == {"cat": 2}
    assert found.roots["val"] == tmp_path / "val/photos"


@pytest.mark.parametrize("labelled", [True, False])
def test_what_lies_beside_splits_is_left_out_in_words(tmp_path, caplog, labelled):
    caplog.set_level(logging.INFO, "solo_bayesncl")
    for folder in ("train/a", "train/b", *(("val/a", "val/b") if labelled else ("val",)), "extra"):
        fill(tmp_path / folder, 1)
    (tmp_path / "notes.txt").touch()
    find_own_images(tmp_path)
    assert "left out: extra, 1 other files (.txt)" in caplog.text


def test_accents_may_be_encoded_in_two_ways(tmp_path):
    for split, name in (("train", "caf\u00e9"), ("val", "cafe\u0301")):
        fill(tmp_path / "in" / split / name, 70)
        fill(tmp_path / "in" / split / "tea", 70)
    data = make_own_images(tmp_path / "out", images=tmp_path / "in")
    assert [*data.classes] == ["caf\u00e9", "tea"]
    assert (data.train_images, data.val_images) == (140, 140)


def test_a_single_folder_is_entered(tmp_path):
    fill(tmp_path / "archive/photos/a", 1)
    fill(tmp_path / "archive/photos/b", 1)
    assert [*find_own_images(tmp_path).train] == ["a", "b"]


@pytest.mark.parametrize("folders", [["."], ["only"], [".", "one"]])
def test_images_of_fewer_than_two_classes_have_no_labels(tmp_path, folders):
    for folder in folders:
        fill(tmp_path / folder, 2)
    assert number(find_own_images(tmp_path).train) == {UNLABELLED: 2 * len(folders)}


def test_what_is_left_out_is_said(tmp_path, caplog):
    caplog.set_level(logging.INFO, "solo_bayesncl")
    fill(tmp_path / "a", 1, ".gif")
    fill(tmp_path / "b", 1)
    fill(tmp_path, 3)
    (tmp_path / "sounds").mkdir()
    (tmp_path / "a/song.ogg").touch()
    (tmp_path / "b/.DS_Store").touch()
    assert number(find_own_images(tmp_path).train) == {"a": 1, "b": 1}
    assert (
        "left out 1 hidden or system files (.DS_Store), 1 other files (.ogg), 3 images outside of "
        "class folders, folders without images (sounds)" in caplog.text
    )


def _archive(folder: Path) -> Path:
    (folder / "images.zip").touch()
    return folder / "images.zip"


def _without_images(folder: Path) -> Path:
    (folder / "drawing.svg").touch()
    return folder


def _unlike_splits(folder: Path) -> Path:
    fill(folder / "train", 2)
    fill(folder / "val/a", 2)
    fill(folder / "val/b", 2)
    return folder


def _unknown_class(folder: Path) -> Path:
    for name in ("train/a", "train/b", "val/a", "val/c"):
        fill(folder / name, 2)
    return folder


def _no_training(folder: Path) -> Path:
    fill(folder / "val/a", 2)
    fill(folder / "test/a", 2)
    return folder


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "nope", "nope is not a folder"),
        (_archive, "images.zip is a file. Give a folder of images, an archive unpacked"),
        (_without_images, r"has no images \(.jpg, .*\); it holds 1 other files \(.svg\)"),
        (_unlike_splits, "train has no class folders, .*/val has"),
        (_unknown_class, "val has classes that train lacks: c. Rename or remove"),
        (_no_training, "test, val, which are splits, not classes. It needs train and one of"),
        (lambda folder: fill(folder, 79), "59 images to train on and 20 to validate .* least 64"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_in_words(tmp_path, make, message):
    (tmp_path / "images").mkdir()
    out = tmp_path / "out"
    with pytest.raises(InputError, match=message):
        make_own_images(out, images=make(tmp_path / "images"))
    assert not out.exists()


@pytest.mark.parametrize(("out", "images"), [("a", "a"), ("a/out", "a"), (".", "a")])
def test_images_and_output_lie_apart(tmp_path, out, images):
    fill(tmp_path / images, 100)
    before = contents(tmp_path)
    with pytest.raises(ArgumentError, match="Give a folder elsewhere"):
        make_own_images(tmp_path / out, images=tmp_path / images)
    assert contents(tmp_path) == before


def test_an_output_that_is_a_file_or_another_data_set_is_refused(tmp_path):
    fill(tmp_path / "photos", 100)
    (tmp_path / "file").touch()
    with pytest.raises(ArgumentError, match="file is a file. Give a folder."):
        make_own_images(tmp_path / "file", images=tmp_path / "photos")
    (tmp_path / "out/images").mkdir(parents=True)
    (tmp_path / "out/images/dataset.json").write_text('{"dataset": "glyphs"}')
    with pytest.raises(ArgumentError, match="images in it is another data set"):
        make_own_images(tmp_path / "out", images=tmp_path / "photos")


@pytest.fixture(scope="module")
def unsplit(tmp_path_factory) -> Path:
    """Classes of 60, 38, 3 and 1 images."""
    folder = tmp_path_factory.mktemp("unsplit")
    for name, count in {"a": 60, "b/inner": 38, "c": 3, "d": 1}.items():
        fill(folder / name, count)
    return folder


def test_a_split_has_images_of_each_class_on_both_sides(unsplit, tmp_path, caplog):
    caplog.set_level(logging.INFO, "solo_bayesncl")
    made = make_own_images(tmp_path, images=unsplit)
    assert (made.train_images, made.val_images) == (76, 26)
    assert made.classes == ("a", "b", "c", "d")
    of_class = {split: Counter() for split in ("train", "val")}
    for row in (made.path / "metadata.csv").read_text().splitlines()[1:]:
        _, split, label, _ = row.split(",")
        of_class[split][label] += 1
    assert of_class["train"] == {"a": 45, "b": 28, "c": 2, "d": 1}
    assert of_class["val"] == {"a": 15, "b": 10, "c": 1}
    assert "a single image, which is trained on and not validated: d" in caplog.text


def test_the_split_is_also_one_of_links_to_the_originals(unsplit, tmp_path):
    before = contents(unsplit)
    make_own_images(tmp_path, images=unsplit)
    links = [path for path in (tmp_path / "split").rglob("*") if not path.is_dir()]
    assert all(path.is_symlink() for path in links)
    assert {path.resolve() for path in links} == {p for p in unsplit.rglob("*") if p.is_file()}
    assert {path.relative_to(tmp_path / "split").parts[1] for path in links} == {*"abcd"}
    assert contents(unsplit) == before


def test_where_links_are_not_possible_the_split_is_copied(unsplit, tmp_path, monkeypatch):
    def refuse(*unused, **options):
        raise OSError("not here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    make_own_images(tmp_path, images=unsplit)
    copies = [path for path in (tmp_path / "split").rglob("*") if path.is_file()]
    assert len(copies) == 102
    assert not any(path.is_symlink() for path in copies)


def test_the_same_folder_gives_the_same_split(unsplit, tmp_path):
    one, two = (make_own_images(tmp_path / name, images=unsplit) for name in ("one", "two"))
    assert contents(one.path) == contents(two.path)
    other = make_own_images(tmp_path / "other", images=unsplit, seed=1)
    assert contents(one.path).keys() != contents(other.path).keys()


def test_images_without_labels_lie_directly_in_the_splits(tmp_path):
    fill(tmp_path / "images/one", 60)
    fill(tmp_path / "images", 40)
    made = make_own_images(tmp_path / "out", images=tmp_path / "images")
    assert made.classes == ()
    names = {path.name for path in made.train_path.iterdir()} | {
        path.name for path in made.val_path.iterdir()
    }
    assert len(names) == 100
    assert {"039.png", "one-039.png"} < names


def test_a_given_split_is_kept_and_not_linked(tmp_path):
    for split, count in {"train": 40, "test": 10}.items():
        for name in "ab":
            fill(tmp_path / "images" / split / name, count)
    made = make_own_images(tmp_path / "out", images=tmp_path / "images")
    assert (made.train_images, made.val_images) == (80, 20)
    assert not (tmp_path / "out/split").exists()


def test_of_many_images_a_share_of_each_class_is_taken(unsplit, tmp_path):
    images = shutil.copytree(unsplit, tmp_path / "images")
    fill(images / "a", 160)
    made = make_own_images(tmp_path / "out", images=images, most=101)
    assert made.classes == ("a", "b", "c", "d")
    rows = (made.path / "metadata.csv").read_text().splitlines()[1:]
    assert Counter(row.split(",")[2] for row in rows) == {"a": 80, "b": 19, "c": 2, "d": 1}
    with pytest.raises(ArgumentError, match="max_images=99: give at least 100"):
        make_own_images(tmp_path / "fewer", images=images, most=99)


def test_images_of_one_name_are_kept_apart(tmp_path):
    fill(tmp_path / "images/a", 50)
    fill(tmp_path / "images/a", 50, ".jpg")
    fill(tmp_path / "images/b", 10)
    made = make_own_images(tmp_path / "out", images=tmp_path / "images")
    assert made.train_images + made.val_images == 110
    assert len(list(made.path.rglob("*.png"))) == 110


def test_images_whose_joined_names_are_equal_or_long_are_all_kept(tmp_path):
    folder = fill(tmp_path / "in", 100)
    deep = "/".join(["\u5199\u771f" * 12] * 4)
    for name in ("2019/06-01", "2019-06/01", "2019-06-01", deep):
        path = folder / "one" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "000.png", path)
    data = make_own_images(tmp_path / "out", images=folder)
    written = [*data.train_path.iterdir(), *data.val_path.iterdir()]
    assert len(written) == data.train_images + data.val_images == 104
    assert len([*(tmp_path / "out/split").rglob("*.png")]) == 104


def test_names_in_a_class_differ():
    paths = [Path(f"root/{name}.png") for name in ("a-b/c", "a/b-c", "a-b-c")]
    for order in (paths, paths[::-1]):
        images = own_images._named({UNLABELLED: order}, Path("root"))
        assert len({image.name for image in images}) == 3


def test_an_image_that_cannot_be_read_is_left_out(unsplit, tmp_path, caplog):
    caplog.set_level(logging.INFO, "solo_bayesncl")
    images = shutil.copytree(unsplit, tmp_path / "images")
    (images / "a/000.png").write_bytes((images / "a/000.png").read_bytes()[:40])
    (images / "b/gone.png").symlink_to("nowhere")
    made = make_own_images(tmp_path / "out", images=images)
    assert made.train_images + made.val_images == 101
    assert "2 images cannot be read and are left out" in caplog.text


def test_a_repeated_call_reads_nothing(unsplit, tmp_path, monkeypatch):
    first = make_own_images(tmp_path, images=unsplit)
    monkeypatch.setattr(own_images, "read_squares", None)
    again = make_own_images(tmp_path, images=unsplit)
    assert again.reused
    assert again.classes == first.classes


def test_an_interrupted_call_is_continued(unsplit, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(own_images, "write_folder", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            make_own_images(tmp_path, images=unsplit)
    assert not make_own_images(tmp_path, images=unsplit).reused


def _another_folder(images: Path) -> dict:
    return {"images": shutil.copytree(images, images.parent / "other")}


def _another_image(images: Path) -> dict:
    fill(images / "e", 1)
    return {"images": images}


def _fewer_images(images: Path) -> dict:
    return {"images": images, "most": 4000}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_another_folder, "is a demo of the images of .*/images. Give another folder, or delete"),
        (_another_image, "an earlier state of these images, which have changed since"),
        (_fewer_images, "a choice of at most 5000 images"),
    ],
)
def test_an_output_of_other_images_is_kept(unsplit, tmp_path, change, message):
    images = shutil.copytree(unsplit, tmp_path / "images")
    made = make_own_images(tmp_path / "out", images=images)
    before = contents(made.path)
    with pytest.raises(ArgumentError, match=message):
        make_own_images(tmp_path / "out", **change(images))
    assert contents(made.path) == before


def test_the_table_names_the_original_of_each_image(unsplit, tmp_path):
    made = make_own_images(tmp_path, images=unsplit)
    rows = (made.path / "metadata.csv").read_text().splitlines()
    assert rows[0] == "path,split,class,source"
    assert any(row.endswith(",b,b/inner/000.png") for row in rows)
    assert json.loads((made.path / "dataset.json").read_text())["source"] == str(unsplit)


def test_a_name_of_other_bytes_than_utf_8_is_read(unsplit, tmp_path):
    images = shutil.copytree(unsplit, tmp_path / "images")
    (images / "a/000.png").rename(images / "a" / os.fsdecode(b"caf\xe9.png"))
    made = make_own_images(tmp_path / "out", images=images)
    assert made.train_images + made.val_images == 102
    assert files.read_json(made.path / "dataset.json")


def test_a_photo_becomes_its_centre():
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = 200
    assert np.unique(np.asarray(square(Image.fromarray(pixels), 20))).tolist() == [200]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_a_drawing_is_seen_whole_on_grey_whatever_its_hidden_colours(mode):
    """A black bar, 40 by 20, whose ground is transparent, and black, too."""
    alpha = Image.new("L", (40, 20))
    alpha.paste(255, (0, 5, 40, 15))
    if mode == "P":
        drawing = alpha.point(lambda value: value > 0).convert("P")
        drawing.putpalette([0, 0, 0, 0, 0, 0])
        drawing.info["transparency"] = 0
    else:
        drawing = Image.new("LA" if mode == "LA" else "RGBA", (40, 20))
        drawing.putalpha(alpha)
        drawing = drawing.convert(mode)
    pixels = np.asarray(square(drawing, 40))
    assert (pixels[16:24] == 0).all()
    assert (pixels[:12] == 128).all()
    assert (pixels[28:] == 128).all()


def test_an_opaque_image_with_alpha_is_a_photo():
    image = Image.new("RGBA", (60, 20), (1, 2, 3, 255))
    assert np.unique(np.asarray(square(image, 20)), axis=None).tolist() == [1, 2, 3]
