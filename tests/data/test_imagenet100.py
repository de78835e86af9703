"""ImageNet-100 out of made downloads in every layout that people have."""

import csv
import errno
import hashlib
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

import solo_bayesncl.data
from solo_bayesncl.__main__ import main
from solo_bayesncl.data import make_imagenet100
from solo_bayesncl.data.imagenet100 import imagenet100_classes
from solo_bayesncl.errors import InputError
from solo_bayesncl.image_files import find_images

CLASSES = imagenet100_classes()
OTHERS = ("n01440764", "n15075141")  # classes of ImageNet that ImageNet-100 lacks
DEVKIT = "ILSVRC2012_devkit_t12"


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(path.name.encode())  # nothing of this reads images


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """Two training images and one validation image of each class, in class folders."""
    root = tmp_path_factory.mktemp("imagenet")
    for name, wordnet_id in flat_names().items():
        for number in range(2):
            image(root / f"train/{wordnet_id}/{wordnet_id}_{number}.JPEG")
        image(root / f"val/{wordnet_id}/{name}.JPEG")
    return root


def flat_names() -> dict[str, str]:
    """Validation images and their classes: not in alphabetical order of either."""
    names = np.random.default_rng(0).permutation([*CLASSES, *OTHERS]).tolist()
    return {f"ILSVRC2012_val_{n:08d}": name for n, name in enumerate(names, start=1)}


@pytest.fixture
def flat(folders, tmp_path) -> Path:
    """The same with all validation images in one folder, and nothing that tells their classes."""
    root = tmp_path / "download"
    root.mkdir()
    (root / "train").symlink_to(folders / "train")
    for name in flat_names():
        image(root / f"val/{name}.JPEG")
    return root


def solution(folder: Path) -> None:
    """Kaggle's file, with one box and with two of them."""
    with (folder / "LOC_val_solution.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["ImageId", "PredictionString"])
        for name, wordnet_id in flat_names().items():
            box = f"{wordnet_id} 85 1 499 272 "
            writer.writerow([name, box * (1 + int(name[-1]) % 2)])


def devkit(folder: Path) -> None:
    """The two files of the development kit; its numbers are not in alphabetical order."""
    wordnet_ids = [*CLASSES, *OTHERS, "n00001740"]  # the last one is no class, but a synset
    shuffled = np.random.default_rng(1).permutation(len(wordnet_ids)) + 1
    numbers = dict(zip(wordnet_ids, shuffled, strict=True))
    synsets = np.zeros(len(wordnet_ids), dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O")])
    synsets["ILSVRC2012_ID"] = list(numbers.values())
    synsets["WNID"] = list(numbers)
    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / "meta.mat", {"synsets": synsets.reshape(-1, 1)})
    lines = "".join(f"{numbers[name]}\n" for name in flat_names().values())
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text(lines)


def packed_devkit(folder: Path) -> None:
    devkit(folder / "x/data")
    with tarfile.open(folder / f"{DEVKIT}.tar.gz", "w:gz") as archive:
        archive.add(folder / "x/data", f"{DEVKIT}/data")
    shutil.rmtree(folder / "x")


def assert_imagenet100(out: Path) -> None:
    for split, number in (("train", 2), ("val", 1)):
        assert sorted(path.name for path in (out / split).iterdir()) == list(CLASSES)
        for name in CLASSES:
            images = [Path(path) for path in find_images(out / split / name)[0]]
            assert len(images) == number
            assert all(path.read_bytes() == path.name.encode() for path in images)


def tree(folder: Path) -> dict[str, tuple]:
    """Everything in a folder, with what would tell that it was written again."""
    return {
        str(path.relative_to(folder)): (path.is_symlink(), path.lstat().st_ino)
        for path in folder.rglob("*")
    }


def test_list_is_that_of_contrastive_multiview_coding():
    path = Path(solo_bayesncl.data.__file__).parent / "imagenet100.txt"
    lines = [line for line in path.read_text().splitlines(True) if not line.startswith("#")]
    # of imagenet100.txt at github.com/HobbitLong/CMC, commit bc687a2
    checksum = "79f3f1552ccc478ce24bd934b4573625db584ddc1f4643ae23c994a94cb11397"
    assert hashlib.sha256("".join(lines).encode()).hexdigest() == checksum
    assert len(set(CLASSES)) == 100


@pytest.mark.parametrize(
    ("inside", "given"),
    [("", ""), ("ILSVRC/Data/CLS-LOC", ""), ("ILSVRC/Data/CLS-LOC", "ILSVRC/Data/CLS-LOC")],
    ids=["plain", "Kaggle", "the folder inside"],
)
def test_class_folders_are_linked(folders, tmp_path, inside, given):
    download = tmp_path / "download"
    (download / inside).parent.mkdir(parents=True, exist_ok=True)
    (download / inside).symlink_to(folders)
    made = make_imagenet100(tmp_path / "out", imagenet=download / given)
    assert (made.classes, made.train_images, made.val_images) == (CLASSES, 200, 100)
    assert_imagenet100(tmp_path / "out")
    assert all(path.is_symlink() for path in (tmp_path / "out").glob("*/*"))


@pytest.mark.parametrize(
    ("place", "write"),
    [
        ("", solution),
        ("val", solution),
        ("", devkit),
        (f"{DEVKIT}/data", devkit),
        ("", packed_devkit),
    ],
    ids=["Kaggle", "Kaggle, beside the images", "files", "development kit", "packed"],
)
def test_flat_validation_folder_is_sorted_by_its_ground_truth(flat, tmp_path, place, write):
    write(flat / place)
    made = make_imagenet100(tmp_path / "out", imagenet=flat)
    assert (made.train_images, made.val_images) == (200, 100)
    assert_imagenet100(tmp_path / "out")
    of_images = {path.stem: path.parent.name for path in (tmp_path / "out/val").glob("*/*")}
    assert of_images == {k: v for k, v in flat_names().items() if v in CLASSES}


def test_kaggles_solution_is_found_above_the_folder_that_is_given(flat, tmp_path):
    inside = tmp_path / "kaggle/ILSVRC/Data/CLS-LOC"
    inside.parent.mkdir(parents=True)
    flat.rename(inside)
    solution(tmp_path / "kaggle")
    make_imagenet100(tmp_path / "out", imagenet=inside)
    assert_imagenet100(tmp_path / "out")


def test_needed_ground_truth_is_named_with_where_it_was_looked_for(flat, tmp_path):
    with pytest.raises(InputError) as raised:
        make_imagenet100(tmp_path / "out", imagenet=flat)
    message = str(raised.value)
    for part in (
        "LOC_val_solution.csv (Kaggle)", "ILSVRC2012_validation_ground_truth.txt with meta.mat",
        f"{DEVKIT}.tar.gz", f"None is in {flat}/val, {flat}",
    ):  # fmt: skip
        assert part in message
    assert not (tmp_path / "out").exists()


def test_ground_truth_without_the_meaning_of_its_numbers_is_not_used(flat, tmp_path):
    devkit(flat)
    (flat / "meta.mat").unlink()
    with pytest.raises(InputError, match=r"meta\.mat of the same development kit"):
        make_imagenet100(tmp_path / "out", imagenet=flat)


@pytest.mark.parametrize("name", ["meta.mat", "LOC_val_solution.csv", f"{DEVKIT}.tar.gz"])
def test_damaged_ground_truth_is_one_message(flat, tmp_path, name):
    devkit(flat)
    if name.startswith(DEVKIT):
        (flat / "ILSVRC2012_validation_ground_truth.txt").unlink()
    (flat / name).write_bytes(b"\x00 nothing of this kind")
    with pytest.raises(InputError, match="does not hold the classes of ImageNet's validation"):
        make_imagenet100(tmp_path / "out", imagenet=flat)


def test_images_without_ground_truth_are_counted(flat, tmp_path):
    solution(flat)
    image(flat / "val/ILSVRC2012_val_00049999.JPEG")
    with pytest.raises(InputError, match=r"lacks 1 of its images, such as ILSVRC2012_val_00049999"):
        make_imagenet100(tmp_path / "out", imagenet=flat)


def test_all_that_is_missing_is_said_at_once(tmp_path):
    for name in CLASSES[2:]:
        image(tmp_path / f"imagenet/train/{name}/0.JPEG")
    (tmp_path / f"imagenet/train/{CLASSES[0]}").mkdir()
    image(tmp_path / f"imagenet/train/{CLASSES[1]}.tar")
    with pytest.raises(InputError) as raised:
        make_imagenet100(tmp_path / "out", imagenet=tmp_path / "imagenet")
    message = str(raised.value)
    assert f"has no images of 2 of the 100 classes: {CLASSES[0]}, {CLASSES[1]} (unpack" in message
    assert "it has no folder val (looked for val, ILSVRC2012_img_val, ILSVRC/Data/" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["x" * 300, "loop"])
def test_a_folder_that_cannot_be_read_is_one_message(tmp_path, name):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match=r"^imagenet=.* (cannot be read|is not a folder)"):
        make_imagenet100(tmp_path / "out", imagenet=tmp_path / name)


def test_a_second_time_changes_nothing(folders, tmp_path):
    out = tmp_path / "out"
    assert not make_imagenet100(out, imagenet=folders).reused
    before = tree(out)
    assert make_imagenet100(out, imagenet=folders).reused
    assert tree(out) == before


def test_what_is_lost_is_added(folders, tmp_path):
    out = tmp_path / "out"
    make_imagenet100(out, imagenet=folders)
    (out / "train" / CLASSES[5]).unlink()
    assert not make_imagenet100(out, imagenet=folders).reused
    assert_imagenet100(out)


def without_links(monkeypatch):
    def symlink(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", symlink)


@pytest.mark.parametrize("layout", ["folders", "flat"])
def test_images_are_copied_where_links_are_not_possible(layout, request, tmp_path, monkeypatch):
    imagenet = request.getfixturevalue(layout)
    if layout == "flat":
        solution(imagenet)
    without_links(monkeypatch)
    out = tmp_path / "out"
    make_imagenet100(out, imagenet=imagenet)
    assert_imagenet100(out)
    assert not any(path.is_symlink() for path in out.rglob("*"))
    before = tree(out)
    assert make_imagenet100(out, imagenet=imagenet).reused
    assert tree(out) == before


def test_interrupted_copies_go_on(folders, tmp_path, monkeypatch):
    without_links(monkeypatch)
    out, copy = tmp_path / "out", shutil.copyfile
    left = [250]

    def interrupted(source, target):
        left[0] -= 1
        if left[0] == 0:
            Path(target).write_bytes(b"half")
            raise KeyboardInterrupt
        return copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_imagenet100(out, imagenet=folders)
    assert not list(out.rglob(".*"))
    assert not make_imagenet100(out, imagenet=folders).reused
    assert_imagenet100(out)


@pytest.mark.parametrize(
    "theirs",
    [f"train/{OTHERS[0]}/0.JPEG", f"train/{CLASSES[0]}/x.JPEG", f"val/{CLASSES[3]}", "val/x.JPEG"],
)
def test_files_of_the_user_are_neither_removed_nor_mixed_in(folders, tmp_path, theirs):
    out = tmp_path / "out"
    image(out / theirs)
    with pytest.raises(InputError, match="holds what does not belong to ImageNet-100"):
        make_imagenet100(out, imagenet=folders)
    assert [path for path in out.rglob("*") if path.is_file()] == [out / theirs]


def test_links_to_another_download_are_not_changed(folders, tmp_path):
    out = tmp_path / "out"
    make_imagenet100(out, imagenet=folders)
    other = shutil.copytree(folders, tmp_path / "other")
    before = tree(out)
    with pytest.raises(InputError, match="and 190 others"):
        make_imagenet100(out, imagenet=other)
    assert tree(out) == before


def test_flat_images_are_not_linked_into_a_folder_that_is_a_link(folders, flat, tmp_path):
    out = tmp_path / "out"
    solution(flat)
    make_imagenet100(out, imagenet=folders)
    before = tree(folders)
    with pytest.raises(InputError, match="does not belong"):
        make_imagenet100(out, imagenet=flat)
    assert tree(folders) == before


def test_command_makes_what_the_recipe_reads(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["data", "imagenet-100", "--imagenet", str(folders), "--out", "datasets/imagenet-100"]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("Made imagenet-100: 200 training and 100 validation images")
    assert f"keep {folders} where it is" in printed.err
    assert "100 classes have fewer here" in printed.err
    for split in ("train", "val"):
        assert (tmp_path / "datasets/imagenet-100" / split / CLASSES[0]).is_dir()
    assert main(command) == 0
    assert capsys.readouterr().out.startswith("Reused imagenet-100: 200 training")
