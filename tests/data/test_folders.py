"""What is a class and what is an image; labels matched by name, in every loader."""

import csv
import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from conftest import RECIPES, make_images, only_run, tiny
from omegaconf import OmegaConf
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

from solo_bayesncl import adapters
from solo_bayesncl.__main__ import main
from solo_bayesncl.data import folders
from solo_bayesncl.data.folders import ClassFolder, FlatFolder
from solo_bayesncl.data.loaders import labelled_loaders
from solo_bayesncl.errors import InputError
from solo_bayesncl.image_files import IMAGE_EXTENSIONS, class_names, find_images, is_leftover

OLD_RELEASE = adapters.find()[1].endswith("v1_0_2")
LEFT_BEHIND = (
    ".DS_Store", "._0.png", ".0.png", "Thumbs.db", "desktop.ini", "notes.txt",
    ".ipynb_checkpoints/0.png", "__MACOSX/._0.png", "__MACOSX/0.png", "@eaDir/0.png",
    ".AppleDouble/0.png", "lost+found/0.png", "$RECYCLE.BIN/0.png", "#recycle/0.png",
)  # fmt: skip


def add_image(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), value, "uint8")).save(path, format="PNG")
    return path


@pytest.fixture
def data(tmp_path) -> Path:
    """`train/` (4 classes of 4 images) and `val/` (4 classes of 2)."""
    make_images(tmp_path / "data/train", classes=4, per_class=4, size=16)
    make_images(tmp_path / "data/val", classes=4, per_class=2, size=16)
    return tmp_path / "data"


@pytest.fixture
def messages(caplog) -> pytest.LogCaptureFixture:
    """What is logged; what was logged once before is logged again."""
    folders._log_left_out.cache_clear()
    caplog.set_level("INFO")
    return caplog


def test_images_and_labels_are_those_of_torchvision(tmp_path):
    for name in ("b/1.png", "b/0.PNG", "a/x/1.png", "a/x-y/1.png", "a/2.png", "B/1.png", "é/1.png"):
        add_image(tmp_path / "data" / name)
    add_image(tmp_path / "elsewhere/0.png")
    (tmp_path / "data/linked").symlink_to(tmp_path / "elsewhere")
    ours, reference = ClassFolder(tmp_path / "data"), ImageFolder(tmp_path / "data")
    assert ours.classes == tuple(reference.classes)
    assert ours.samples == reference.samples
    assert ours[3][0].tobytes() == reference[3][0].tobytes()


def test_leftovers_are_neither_classes_nor_images(data, messages):
    for split in ("train", "val"):
        for name in LEFT_BEHIND:
            add_image(data / split / name)
            add_image(data / split / "class_0" / name)
    train = ClassFolder(data / "train")
    val = ClassFolder(data / "val", classes=train.classes, key="data.val_path")
    assert train.classes == ("class_0", "class_1", "class_2", "class_3")
    assert (len(train), len(val)) == (16, 8)
    first, second = messages.messages
    assert first.startswith(f"data.train_path={data}/train: left out 24 hidden or system files (")
    assert first.endswith("), 2 other files (.txt)")
    assert second.startswith(f"data.val_path={data}/val: left out 24 hidden")


def test_leftovers_among_images_without_labels_are_left_out(data, messages):
    for name in LEFT_BEHIND:
        add_image(data / "train/class_0" / name)
    images = FlatFolder(data / "train/class_0")
    assert [Path(path).name for path, _ in images.samples] == [f"{i}.png" for i in range(4)]
    assert images[0][1] == -1
    assert "left out 12 hidden or system files (" in messages.text


def test_what_is_left_out_is_said_once(data, messages):
    (data / "train/class_0/notes.txt").write_text("")
    for _ in range(2):
        ClassFolder(data / "train")
    assert len(messages.messages) == 1


def test_leftover_folders_do_not_count_as_classes_in_training(data, tmp_path):
    add_image(data / "train/.ipynb_checkpoints/0.png")
    run = pretrain(data, tmp_path / "out")
    assert OmegaConf.load(run / "args.json").data.num_classes == 4


@pytest.mark.parametrize("name", ["class_0", "Thumbs", "a.b", "1", "-"])
def test_ordinary_names_are_no_leftovers(name):
    assert not is_leftover(name)


def test_folder_linked_into_itself_is_read_once(tmp_path):
    add_image(tmp_path / "a/0.png")
    (tmp_path / "a/again").symlink_to(tmp_path / "a")
    (tmp_path / "a/all").symlink_to(tmp_path)
    assert find_images(tmp_path / "a") == ([str(tmp_path / "a/0.png")], [])


def test_links_that_lead_back_or_nowhere(data, tmp_path):
    """Into themselves they are no classes; to a disk that is not mounted, training would shrink."""
    (data / "train/class_0/loop").symlink_to("loop")
    assert len(ClassFolder(data / "train")) == 16
    for target in ("loop", "/nowhere/class_9"):
        (data / "train/loop").symlink_to(target)
        with pytest.raises(InputError, match=f"data.train_path=.*: loop is a link to {target}, wh"):
            ClassFolder(data / "train")
        (data / "train/loop").unlink()


def test_images_come_in_the_order_of_their_names_in_any_file_system(tmp_path):
    names = [f"{number:02}.png" for number in np.random.default_rng(0).permutation(60)]
    for name in names:
        add_image(tmp_path / name)
    listed = [entry.name for entry in os.scandir(tmp_path)]
    assert listed != sorted(names)  # else it would show nothing
    assert [Path(path).name for path, _ in FlatFolder(tmp_path).samples] == sorted(names)


@pytest.mark.parametrize("missing", ["folder", "images"])
def test_labels_are_training_s_by_name_where_validation_lacks_a_class(data, missing):
    shutil.rmtree(data / "val/class_1")
    if missing == "images":
        (data / "val/class_1").mkdir()
    val = ClassFolder(data / "val", classes=ClassFolder(data / "train").classes)
    assert {(Path(path).parent.name, label) for path, label in val.samples} == {
        ("class_0", 0), ("class_2", 2), ("class_3", 3)
    }  # fmt: skip


def test_names_match_however_accents_are_encoded(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "crème") for form in ("NFC", "NFD"))
    for name in ("apple", composed, "zebra"):
        add_image(tmp_path / "train" / name / "0.png")
    add_image(tmp_path / "val" / decomposed / "0.png")
    val = ClassFolder(tmp_path / "val", classes=class_names(tmp_path / "train"))
    assert [label for _, label in val.samples] == [1]


def a_class_of_validation_has_another_name(data):
    (data / "val/class_2").rename(data / "val/crane")


def training_lacks_a_class(data):
    shutil.rmtree(data / "train/class_0")


def a_class_of_training_is_empty(data):
    for path in (data / "train/class_3").iterdir():
        path.unlink()


def validation_is_empty(data):
    for path in data.glob("val/*/*"):
        path.unlink()


def both_splits_are_one_level_deeper(data):
    (data / "train").rename(data / "inner")
    (data / "train").mkdir()
    (data / "inner").rename(data / "train/train")


def class_folders_are_all_hidden(data):
    shutil.rmtree(data / "train")
    add_image(data / "train/.ipynb_checkpoints/0.png")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (a_class_of_validation_has_another_name,
         "/val has classes that the training images lack: crane. Training has: class_0, class_1"),
        (training_lacks_a_class, "lack: class_0. Training has: class_1, class_2, class_3. Classes"),
        (a_class_of_training_is_empty, "/train has class folders without images: class_3. Add"),
        (validation_is_empty, "/val has class folders, but no images in them"),
        (both_splits_are_one_level_deeper, "/train holds the folders train, which are splits"),
        (class_folders_are_all_hidden, "/train has no class folders"),
    ],
)  # fmt: skip
def test_impossible_classes_are_refused_before_training(data, tmp_path, capsys, change, expected):
    change(data)
    assert main(arguments(data, tmp_path / "out")) == 2
    message = capsys.readouterr().err
    assert expected in message
    assert "data.train_path" in message or "data.val_path" in message
    assert not list((tmp_path / "out").rglob("*.ckpt"))


def test_images_without_labels_are_refused_in_folders_or_where_there_are_none(data):
    with pytest.raises(InputError, match="has folders in it, such as class_0"):
        FlatFolder(data / "train")
    empty = data / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("")
    with pytest.raises(InputError, match="data.train_path=.*empty holds no images"):
        FlatFolder(empty)


def test_two_folders_of_one_name_are_refused(tmp_path):
    for form in ("NFC", "NFD"):
        add_image(tmp_path / unicodedata.normalize(form, "crème") / "0.png")
    with pytest.raises(InputError, match="only in how accents are encoded"):
        ClassFolder(tmp_path)


def test_named_data_set_with_more_classes_than_it_has_is_refused(tmp_path):
    for number in range(101):
        add_image(tmp_path / f"{number}/0.png")
    cfg = OmegaConf.create({
        "data": {"dataset": "imagenet100", "train_path": str(tmp_path), "format": "image_folder",
                 "val_path": str(tmp_path), "num_workers": 0},
        "optimizer": {"batch_size": 2},
    })  # fmt: skip
    with pytest.raises(InputError, match="has 101 class folders, and data.dataset=imagenet100 has"):
        labelled_loaders(cfg, None, None)


def test_doubtful_folders_are_trained_on_with_a_warning(data, tmp_path, capsys):
    for number in (1, 2, 3):
        shutil.rmtree(data / f"train/class_{number}")
    for path in (data / "train/class_0").iterdir():
        shutil.copy(path, path.with_stem(f"{path.stem}_again"))
    pretrain(data, tmp_path / "out", f"data.val_path={data}/train")
    message = capsys.readouterr().err
    assert f"data.train_path={data}/train has one class folder, class_0" in message
    assert "data.val_path is data.train_path" in message


def arguments(data: Path, out: Path, *overrides: str) -> list[str]:
    path = ["--config-path", str(RECIPES / "pretrain/custom"), "--config-name", "ncl"]
    return ["pretrain", *path, *tiny(data, out, "optimizer.batch_size=8", *overrides)]


def pretrain(data: Path, out: Path, *overrides: str) -> Path:
    assert main(arguments(data, out, *overrides)) == 0
    return only_run(out, "ncl")


def probe(run: Path, data: Path, out: Path) -> Path:
    train_probe(run, data, out)
    return only_run(out, "linear")


def train_probe(run: Path, data: Path, out: Path) -> None:
    path = ["--config-path", str(RECIPES / "linear/custom"), "--config-name", "ncl"]
    assert main([
        "linear", *path, f"pretrained_feature_extractor={run}", f"data.train_path={data}/train",
        f"data.val_path={data}/val", "data.num_workers=0", "precision=32-true", "max_epochs=2",
        "optimizer.batch_size=8", "data.augmentations.crop_size=16",
        "++enable_progress_bar=False", f"checkpoint.dir={out}",
    ]) == 0  # fmt: skip


def val_acc1(run: Path) -> float:
    """The last one of a run."""
    with (run / "metrics.csv").open() as file:
        return [float(row["val_acc1"]) for row in csv.DictReader(file) if row["val_acc1"]][-1]


def one_class_each(data: Path, out: Path) -> list[Path]:
    """The data once for every class, whose validation has that class alone."""
    copies = []
    for name in class_names(data / "val"):
        shutil.copytree(data, out / name)
        for other in class_names(data / "val"):
            if other != name:
                shutil.rmtree(out / name / "val" / other)
        copies.append(out / name)
    return copies


@pytest.mark.usefixtures("narrow_backbone")
def test_accuracies_of_single_classes_have_the_accuracy_of_all_as_their_mean(data, tmp_path):
    """Of the online classifier and the linear probe; by position, all images would be class 0."""
    run = pretrain(data, tmp_path / "all")
    whole = val_acc1(run), val_acc1(probe(run, data, tmp_path / "probe"))
    online, linear = [], []
    for copy in one_class_each(data, tmp_path / "copies"):
        online.append(val_acc1(pretrain(copy, tmp_path / "of" / copy.name)))
        linear.append(val_acc1(probe(run, copy, tmp_path / "probes" / copy.name)))
    assert (np.mean(online), np.mean(linear)) == pytest.approx(whole)
    assert max(linear[1:]) > 0  # else it would show nothing


@pytest.mark.usefixtures("narrow_backbone")
def test_probe_of_a_backbone_that_has_trained_on_is_trained_anew(data, tmp_path):
    out = tmp_path / "runs"
    run = pretrain(data, out)
    first = probe(run, data, tmp_path / "probes")
    assert main(arguments(data, out, "max_epochs=2", f"resume_from_checkpoint={run}")) == 0
    train_probe(run, data, tmp_path / "probes")
    records = [path for path in (tmp_path / "probes/linear").glob("*/args.json")]
    read = {OmegaConf.load(path).pretrained_feature_extractor for path in records}
    assert len(read) == len(records) == 2
    assert first.exists()


@pytest.mark.usefixtures("narrow_backbone")
def test_same_relative_path_elsewhere_is_another_run(data, tmp_path, monkeypatch):
    for place in ("here", "there"):
        shutil.copytree(data, tmp_path / place / "data")
        monkeypatch.chdir(tmp_path / place)
        assert main(arguments(Path("data"), tmp_path / "runs")) == 0
    records = list((tmp_path / "runs/ncl").glob("*/args.json"))
    paths = {OmegaConf.load(record).data.train_path for record in records}
    assert paths == {f"{tmp_path}/{place}/data/train" for place in ("here", "there")}


@pytest.mark.usefixtures("narrow_backbone")
def test_run_is_not_continued_on_classes_of_other_names(data, tmp_path, capsys):
    run = pretrain(data, tmp_path / "runs")
    for folder in list(data.glob("*/class_0")):
        folder.rename(folder.with_name("zebra"))
    for resume in (["max_epochs=2", f"resume_from_checkpoint={run}"], []):  # also if finished
        assert main(arguments(data, tmp_path / "runs", *resume)) == 2
        message = capsys.readouterr().err
        assert f"has other classes than when {run} began: class_0, zebra of 2" in message


def test_images_have_the_extensions_of_torchvision():
    assert IMAGE_EXTENSIONS == IMG_EXTENSIONS
