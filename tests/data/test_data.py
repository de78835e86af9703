"""The demo data sets: deterministic, complete or absent, readable by every loader, learnable."""

import argparse
import csv
import json
from collections import defaultdict
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier

from solo_bayesncl.commands import data as command
from solo_bayesncl.data import glyphs, make_digits, make_glyphs
from solo_bayesncl.data.textures import TEXTURES, Backgrounds
from solo_bayesncl.errors import InputError

SMALL = {"train_size": 100, "val_size": 100, "size": 16}
MAKERS = pytest.mark.parametrize("make", [make_glyphs, make_digits])


@pytest.fixture(scope="module")
def plain_glyphs(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "glyphs"
    return make_glyphs(out, train_size=1250, val_size=500, size=16)


@pytest.fixture(scope="module")
def textured_glyphs(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "glyphs"
    return make_glyphs(out, textures=True, train_size=400, val_size=400, size=16)


@pytest.fixture(scope="module")
def plain_digits(tmp_path_factory):
    return make_digits(tmp_path_factory.mktemp("data") / "digits", size=16)


@pytest.fixture(scope="module")
def textured_digits(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "digits"
    return make_digits(out, textures=True, train_size=400, val_size=200, size=24)


@pytest.fixture(params=["plain_glyphs", "textured_glyphs", "plain_digits", "textured_digits"])
def made(request):
    return request.getfixturevalue(request.param)


def metadata(made):
    with (made.path / "metadata.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def pixels(made, split):
    """Images (N, size * size) in [0, 1], grey, and their class names."""
    rows = [row for row in metadata(made) if row["split"] == split]
    images = [Image.open(made.path / row["path"]).convert("L") for row in rows]
    stack = np.stack([np.asarray(image, dtype=float).ravel() / 255 for image in images])
    return stack, np.array([row["class"] for row in rows])


# What is made


@MAKERS
@pytest.mark.parametrize("textures", [False, True])
def test_same_seed_gives_the_same_bytes(make, textures, tmp_path):
    first = make(tmp_path / "a", textures=textures, seed=3, **SMALL)
    second = make(tmp_path / "b", textures=textures, seed=3, **SMALL)
    assert contents(first.path) == contents(second.path)


@MAKERS
def test_another_seed_gives_other_images(make, tmp_path):
    first = contents(make(tmp_path / "a", seed=0, **SMALL).train_path)
    second = contents(make(tmp_path / "b", seed=1, **SMALL).train_path)
    equal = sum(second.get(name) == data for name, data in first.items())
    assert equal < 0.2 * len(first)


def test_more_glyphs_keep_the_first_ones(plain_glyphs, tmp_path):
    fewer = contents(make_glyphs(tmp_path / "a", **SMALL).train_path)
    more = contents(plain_glyphs.train_path)
    assert fewer.items() <= more.items()


def test_metadata_has_a_row_for_every_image_and_no_other(made):
    listed = [row["path"] for row in metadata(made)]
    assert len(listed) == len(set(listed))
    assert set(listed) == {name for name in contents(made.path) if name.endswith(".png")}
    for row in metadata(made):
        assert row["path"].split("/")[:2] == [row["split"], row["class"]]


def test_split_folders_hold_class_folders_only(made):
    for split in (made.train_path, made.val_path):
        assert all(path.is_dir() for path in split.iterdir())
        assert tuple(sorted(path.name for path in split.iterdir())) == made.classes


def test_counts_are_as_asked_and_even_over_classes(made):
    count = defaultdict(int)
    for row in metadata(made):
        count[row["split"], row["class"]] += 1
    for split, images in (("train", made.train_images), ("val", made.val_images)):
        of_split = [count[split, label] for label in made.classes]
        assert sum(of_split) == images
        # Digits keep their own frequencies: scikit-learn has 174 to 183 of each.
        slack = 1 if len(made.classes) == 100 else 1 + 0.06 * max(of_split)
        assert max(of_split) - min(of_split) <= slack


def test_images_are_rgb_of_the_asked_size(made):
    size = json.loads((made.path / "dataset.json").read_text())["size"]
    for row in metadata(made):
        with Image.open(made.path / row["path"]) as image:
            assert (image.mode, image.size) == ("RGB", (size, size))


def test_no_image_is_blank_and_no_two_are_equal(made):
    images, _ = pixels(made, "train")
    assert images.std(axis=1).min() > 0.03
    assert len(np.unique(images, axis=0)) == len(images)


def test_class_names_are_safe_file_names(plain_glyphs):
    names = plain_glyphs.classes
    assert len({name.lower() for name in names}) == len(names) == 100
    assert all(name.replace("_", "").isalnum() and name.isascii() for name in names)
    assert names == tuple(glyphs.class_name(label) for label in range(100))


def test_no_digit_is_in_both_splits(plain_digits):
    indexes = [row["source_index"] for row in metadata(plain_digits)]
    assert len(indexes) == len(set(indexes)) == 1797


# Fonts


def test_validation_fonts_are_never_trained_on(plain_glyphs):
    fonts = defaultdict(set)
    for row in metadata(plain_glyphs):
        fonts[row["split"]].add(row["font"])
    assert (len(fonts["train"]), len(fonts["val"])) == (11, 5)
    assert not fonts["train"] & fonts["val"]


def test_every_family_and_style_is_trained_on():
    for of_split in (glyphs.TRAIN_FONTS, glyphs.VAL_FONTS):
        assert len({font.family for font in of_split}) == 4
    styles = {(font.weight, font.slant) for font in glyphs.TRAIN_FONTS}
    assert {(font.weight, font.slant) for font in glyphs.VAL_FONTS} <= styles


def test_every_font_draws_100_different_characters():
    # A missing character would be drawn as the same box as another missing one, or not at all.
    for font in glyphs.load_fonts(32).values():
        drawn = [glyphs._render(character, font) for character in glyphs.CHARACTERS]
        assert len({(image.size, image.tobytes()) for image in drawn}) == 100


def test_missing_fonts_are_reported_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path))
    with pytest.raises(InputError, match=r"DejaVuSans.*Install matplotlib"):
        make_glyphs(tmp_path / "out", **SMALL)
    assert list(tmp_path.iterdir()) == []


# Other factors


@pytest.mark.parametrize("fixture", ["textured_glyphs", "textured_digits"])
def test_every_class_is_seen_on_every_texture(fixture, request):
    made = request.getfixturevalue(fixture)
    seen = defaultdict(set)
    for row in metadata(made):
        seen[row["split"], row["class"]].add(row["background"])
    assert len(seen) == 2 * len(made.classes)
    assert all(textures == set(TEXTURES) for textures in seen.values())


@pytest.mark.parametrize("fixture", ["textured_glyphs", "textured_digits"])
def test_figures_are_brighter_than_textures(fixture, request):
    images, _ = pixels(request.getfixturevalue(fixture), "train")
    rng = np.random.default_rng(0)
    backgrounds = Backgrounds(64, seed=0, textures=True)
    crops = [backgrounds.crop(name, rng).convert("L") for name in TEXTURES for _ in range(8)]
    assert images.max(axis=1).min() > np.max(crops) / 255 + 0.2


def test_metadata_says_where_the_glyph_lies(plain_glyphs):
    rows = [row for row in metadata(plain_glyphs) if row["split"] == "train"]
    images, _ = pixels(plain_glyphs, "train")
    ink = images.reshape(-1, 16, 16) > 0.2
    grid = (np.arange(16) + 0.5) / 16 - 0.5
    for axis, column in ((1, "offset_x"), (2, "offset_y")):
        extent = [grid[line] for line in ink.any(axis=axis)]
        centre = [(line.min() + line.max()) / 2 for line in extent]
        told = [float(row[column]) for row in rows]
        assert np.corrcoef(centre, told)[0, 1] > 0.95


def test_rotation_is_counter_clockwise_and_shear_to_the_right():
    bar = Image.new("L", (10, 100), 255)

    class Fixed:
        def __init__(self, rotation, shear):
            self.values = iter([rotation, shear, 0.9])

        def uniform(self, low, high, size=None):
            return np.zeros(size) if size else next(self.values)

    def lean(rotation, shear):
        """How far the top of the bar lies to the right of its bottom, in pixels."""
        image = Image.new("RGB", (64, 64))
        glyphs._draw(bar, image, Fixed(rotation, shear))
        ink = np.asarray(image)[..., 0] > 128
        return np.nonzero(ink[8])[0].mean() - np.nonzero(ink[55])[0].mean()

    assert lean(15, 0) < -5
    assert lean(0, 0.15) > 5
    assert lean(0, 0) == 0


# Loaders and learning


def test_torchvision_reads_it(made):
    datasets = pytest.importorskip("torchvision.datasets")
    train, val = datasets.ImageFolder(made.train_path), datasets.ImageFolder(made.val_path)
    assert tuple(train.classes) == tuple(val.classes) == made.classes
    assert (len(train), len(val)) == (made.train_images, made.val_images)
    assert {label for _, label in train.samples} == set(range(len(made.classes)))


def test_dali_reads_it(plain_digits):
    dali = pytest.importorskip("nvidia.dali")

    @dali.pipeline_def(batch_size=16, num_threads=1, device_id=None)
    def pipeline():
        files, labels = dali.fn.readers.file(file_root=str(plain_digits.val_path), name="reader")
        return dali.fn.decoders.image(files, device="cpu"), labels

    built = pipeline()
    built.build()
    images, labels = built.run()
    assert built.reader_meta("reader")["epoch_size"] == plain_digits.val_images
    assert images.at(0).shape == (16, 16, 3)
    first = sorted((plain_digits.val_path / "0").iterdir())[0]
    assert np.array_equal(images.at(0), np.asarray(Image.open(first)))
    assert labels.at(0).item() == 0


@pytest.mark.parametrize(
    ("fixture", "least"), [("plain_digits", 0.9), ("textured_digits", 0.3), ("plain_glyphs", 0.3)]
)
def test_raw_pixels_tell_classes_far_above_chance(fixture, least, request):
    made = request.getfixturevalue(fixture)
    neighbours = KNeighborsClassifier(1).fit(*pixels(made, "train"))
    assert neighbours.score(*pixels(made, "val")) > least


# The folder


@MAKERS
def test_running_twice_writes_nothing_twice(make, tmp_path):
    first = make(tmp_path / "out", **SMALL)
    (first.path / "metadata.csv").write_text("touched")
    before = contents(tmp_path)
    second = make(tmp_path / "out", **SMALL)
    assert (first.reused, second.reused) == (False, True)
    assert (second.classes, second.train_path) == (first.classes, first.train_path)
    assert contents(tmp_path) == before


def test_other_settings_on_the_same_folder_are_refused(tmp_path):
    make_digits(tmp_path / "out", **SMALL)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"out=.*seed 0 instead of 1"):
        make_digits(tmp_path / "out", seed=1, **SMALL)
    assert contents(tmp_path) == before


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"out=.* is not empty"):
        make_digits(tmp_path, **SMALL)
    assert list(contents(tmp_path)) == ["thesis.tex"]


def test_a_damaged_data_set_is_not_reused(tmp_path):
    made = make_digits(tmp_path / "out", **SMALL)
    next(made.val_path.rglob("*.png")).unlink()
    with pytest.raises(InputError, match="val has 99 of 100 images"):
        make_digits(tmp_path / "out", **SMALL)


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "out").mkdir()
    assert not make_digits(tmp_path / "out", **SMALL).reused
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_current_folder_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="out=.* is the current folder"):
        make_digits("", **SMALL)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError(28, "No space left")])
def test_an_interrupted_run_leaves_nothing(interruption, tmp_path, monkeypatch):
    save, saved = Image.Image.save, []

    def fail_late(image, path, *args, **kwargs):
        if len(saved) == 150:
            raise interruption
        saved.append(path)
        save(image, path, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "save", fail_late)
    with pytest.raises((KeyboardInterrupt, InputError)):
        make_digits(tmp_path / "out", **SMALL)
    assert len(saved) == 150
    assert list(tmp_path.iterdir()) == []


def test_out_that_cannot_be_written_is_reported(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    for out in (file, file / "below"):
        with pytest.raises(InputError, match="out="):
            make_digits(out, **SMALL)
    assert file.read_text() == "mine"


# Options


@MAKERS
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("train_size", 9),
        ("train_size", 10**7),
        ("val_size", 0),
        ("val_size", 200.5),
        ("size", 15),
        ("size", 257),
        ("size", "32"),
        ("seed", -1),
        ("seed", 2**32),
        ("textures", "yes"),
    ],
)
def test_bad_options_are_reported_by_name(make, option, value, tmp_path):
    with pytest.raises(InputError, match=f"{option}="):
        make(tmp_path / "out", **{**SMALL, option: value})
    assert list(tmp_path.iterdir()) == []


def test_glyphs_need_an_image_of_each_class(tmp_path):
    with pytest.raises(InputError, match=r"val_size=99 .* from 100"):
        make_glyphs(tmp_path / "out", val_size=99)


def test_more_digits_than_there_are_is_reported(tmp_path):
    with pytest.raises(InputError, match=r"train_size=1298 and val_size=500 .* 1797"):
        make_digits(tmp_path / "out", train_size=1298)


def run_command(*words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(words))


@pytest.mark.parametrize("dataset", ["glyphs", "digits"])
def test_command_makes_the_data_set_and_says_how_to_train(dataset, tmp_path, capsys):
    out = tmp_path / "my data"
    words = [dataset, "--out", str(out), "--train-size", "110", "--val-size", "100", "--size", "16"]
    assert run_command(*words, "--textures", "--seed", "5") == 0
    assert json.loads((out / "dataset.json").read_text()) == {
        "recipe": 1,
        "dataset": dataset,
        "classes": 100 if dataset == "glyphs" else 10,
        "available": 1_000_000 if dataset == "glyphs" else 1797,
        "textures": True,
        "train_size": 110,
        "val_size": 100,
        "size": 16,
        "seed": 5,
    }
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith(f"Made {dataset}: 110 training and 100 validation images")
    assert f"data.train_path='{out}/train' data.val_path='{out}/val'" in printed.out
    assert printed.out.count("\n") == 1

    assert run_command(*words, "--textures", "--seed", "5") == 0
    assert capsys.readouterr().out.startswith(f"Reused {dataset}")


def test_command_leaves_defaults_to_the_functions(tmp_path, monkeypatch):
    given = {}

    def make(out, *, size="own", seed="own"):
        given.update(out=out, size=size, seed=seed)
        raise InputError("enough")

    monkeypatch.setitem(command.MAKERS, "glyphs", make)
    with pytest.raises(InputError, match="enough"):
        run_command("glyphs", "--out", "somewhere", "--size", "64")
    assert given == {"out": Path("somewhere"), "size": 64, "seed": "own"}
