"""Unreadable images in loaders: named, left out or replaced, with any number of workers."""

from types import SimpleNamespace

import numpy as np
import pytest
from conftest import make_images
from image_kinds import save_deep, save_unreadable
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms as T

from solo_bayesncl import adapters
from solo_bayesncl.adapters import adapter
from solo_bayesncl.data.folders import ClassFolder
from solo_bayesncl.data.unreadable import (
    ReadableLoader,
    ReadableSamples,
    Reading,
    UnreadableImages,
    without_images,
)
from solo_bayesncl.errors import InputError
from solo_bayesncl.training.distributed import share_of
from solo_bayesncl.training.seeding import SeededLoader

OLD_RELEASE = adapters.find()[1].endswith("v1_0_2")
SKIP, STOP = Reading(skip=True), Reading()
WORKERS = [{"num_workers": 0}, {"num_workers": 2}]
SPAWNED = {"num_workers": 1, "multiprocessing_context": "spawn"}


@pytest.fixture
def folder(tmp_path):
    """2 classes of 4 images, of which those at 1, 2 and 7 cannot be read."""
    make_images(tmp_path / "data", classes=2, per_class=4, size=8)
    for name in ("class_0/1.png", "class_0/2.png", "class_1/3.png"):
        (tmp_path / "data" / name).write_bytes(b"no image")
    return tmp_path / "data"


def loader_of(folder, **options) -> DataLoader:
    return DataLoader(ClassFolder(folder, T.ToTensor()), batch_size=4, **options)


def trainer_in(epoch: int, rank: int = 0, world_size: int = 1):
    return SimpleNamespace(current_epoch=epoch, global_rank=rank, world_size=world_size)


@pytest.mark.parametrize("options", WORKERS)
def test_the_first_unreadable_image_stops_a_loader_with_one_line(folder, options):
    with pytest.raises(InputError) as raised:
        list(ReadableLoader.like(loader_of(folder, **options), UnreadableImages(STOP)))
    message = str(raised.value)
    assert message.startswith(f"{folder}/class_0/1.png cannot be read as an image: it is empty")
    assert "data.on_corrupt=skip" in message
    assert "\n" not in message


@pytest.mark.parametrize("options", WORKERS)
def test_unreadable_images_are_left_out(folder, options):
    unreadable = UnreadableImages(SKIP)
    loader = ReadableLoader.like(loader_of(folder, **options), unreadable)
    labels = [label for _, labels in loader for label in labels.tolist()]
    assert labels == [0, 0, 1, 1, 1]
    assert sorted(loader.failures) == [1, 2, 7]
    kept = without_images(loader.dataset.samples, loader.failures)
    assert [label for _, label in kept.samples] == labels
    assert len(kept) == 5
    assert list(unreadable.reasons) == [
        f"{folder}/{name}" for name in ("class_0/1.png", "class_0/2.png", "class_1/3.png")
    ]


def test_the_next_image_in_the_data_set_takes_the_place_of_an_unreadable_one(folder):
    samples = ReadableSamples(ClassFolder(folder), SKIP, replace=True)
    labels = [samples[index][0][1] for index in range(8)]
    assert labels == [0, 0, 0, 0, 1, 1, 1, 0]
    for index, other in {1: 3, 2: 3, 7: 0}.items():
        image, _ = samples[index][0]
        assert image.tobytes() == samples[other][0][0].tobytes()


@pytest.mark.parametrize("world_size", [1, 2])
def test_training_sees_the_same_images_with_any_number_of_workers(folder, world_size):
    def seen(**options) -> list:
        epochs = []
        for epoch in range(2):
            trainer = trainer_in(epoch, world_size - 1, world_size)
            loader = SeededLoader.like(
                loader_of(folder, **options), 5, trainer, UnreadableImages(SKIP)
            )
            epochs.append([(images.sum().item(), labels.tolist()) for images, labels in loader])
        return epochs

    first, second = seen(num_workers=0)
    assert sum(len(labels) for _, labels in first) == 8 // world_size
    assert seen(num_workers=2) == [first, second]


def test_names_and_reasons_are_recorded_once(folder, tmp_path):
    record = tmp_path / "skipped_images.txt"
    for epoch in (0, 1):  # as of a run and its continuation
        loader = SeededLoader.like(
            loader_of(folder), 5, trainer_in(epoch), UnreadableImages(SKIP, record)
        )
        list(loader)
    lines = record.read_text().splitlines()
    assert {line.split("\t")[0] for line in lines} == {
        f"{folder}/{name}" for name in ("class_0/1.png", "class_0/2.png", "class_1/3.png")
    }
    assert len(lines) == 3
    assert all("it is empty" in line.split("\t")[1] for line in lines)


def test_name_that_is_not_utf_8_is_recorded(tmp_path):
    record = tmp_path / "skipped_images.txt"
    (tmp_path / "data/a").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "data/a/0.png")
    name = b"caf\xe9.png".decode(errors="surrogateescape")
    (tmp_path / "data/a" / name).write_bytes(b"no image")
    list(ReadableLoader.like(loader_of(tmp_path / "data"), UnreadableImages(SKIP, record)))
    assert r"caf\xe9.png" in record.read_text()


@pytest.mark.parametrize("replace", [False, True])
def test_data_set_without_a_readable_image_is_one_message(folder, replace):
    for file in folder.glob("*/*"):
        file.write_bytes(b"no image")
    unreadable = UnreadableImages(SKIP)
    with pytest.raises(
        InputError, match=r"None of 8 images can be read. The first: .*class_0/0.png"
    ):
        list(ReadableLoader.like(loader_of(folder), unreadable, replace))


def test_ranks_validate_equally_many_batches(tmp_path):
    """All images of a batch of rank zero cannot be read."""
    make_images(tmp_path / "data", classes=1, per_class=8, size=8)
    for number in range(0, 8, 2):
        (tmp_path / f"data/class_0/{number}.png").write_bytes(b"no image")
    batches = []
    for rank in range(2):
        share = share_of(loader_of(tmp_path / "data"), trainer_in(0, rank, 2))
        batches.append(
            list(ReadableLoader.like(share, UnreadableImages(SKIP), no_empty_batch=True))
        )
    assert len(batches[0]) == len(batches[1]) == 1


@pytest.mark.parametrize("options", WORKERS)
def test_whatever_cannot_be_read_is_skipped(tmp_path, options):
    (tmp_path / "data/a").mkdir(parents=True)
    (tmp_path / "data/b").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "data/a/0.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "data/b/0.png")
    files = save_unreadable(tmp_path / "data/b")
    unreadable = UnreadableImages(SKIP)
    loader = ReadableLoader.like(loader_of(tmp_path / "data", **options), unreadable)
    assert [label for _, labels in loader for label in labels.tolist()] == [0, 1]
    # a folder is none of the data set's files
    assert unreadable.reasons.keys() == {str(file) for file in files if not file.is_dir()}


@pytest.mark.parametrize("options", [*WORKERS, SPAWNED])
def test_limit_of_pixels_holds_in_every_worker(tmp_path, options):
    make_images(tmp_path / "data", classes=1, per_class=1, size=8)
    Image.new("RGB", (8, 9)).save(tmp_path / "data/class_0/large.png")
    unreadable = UnreadableImages(Reading(max_pixels=64, skip=True))
    loader = ReadableLoader.like(loader_of(tmp_path / "data", **options), unreadable)
    assert [len(labels) for _, labels in loader] == [1]
    (reason,) = unreadable.reasons.values()
    assert "limit of 64 pixels; to allow it, set data.max_image_pixels=N" in reason


@pytest.mark.skipif(OLD_RELEASE, reason="1.0.2 has no HDF5 data")
def test_images_in_an_hdf5_file_are_read_and_named_in_the_same_way(tmp_path):
    h5py = pytest.importorskip("h5py")
    h5_dataset = pytest.importorskip("solo.data.h5_dataset")
    adapter().patch_solo_learn()
    (deep, shown), *_ = save_deep(tmp_path).items()
    with h5py.File(tmp_path / "images.h5", "w") as file:
        for name, content in {"a/0": deep.read_bytes(), "a/1": b"no image"}.items():
            file.create_dataset(name, data=np.frombuffer(content, dtype="uint8"))
    samples = h5_dataset.H5Dataset("imagenet", str(tmp_path / "images.h5"))
    samples = ReadableSamples(samples, SKIP)
    (image, label), _ = samples[0]
    assert label == 0
    assert np.array_equal(np.asarray(image)[..., 0], shown)
    _, failures = samples[1]
    assert str(failures[1]).startswith(f"{tmp_path}/images.h5:a/1 cannot be read as an image: ")


def test_batch_without_any_readable_image_is_filled_where_ranks_must_have_as_many(folder):
    """Of other batches, what cannot be read is left out."""
    samples = ReadableSamples(ClassFolder(folder), SKIP, no_empty_batch=True)
    (filled, _), (missing, _) = samples.__getitems__([1, 2])
    assert missing is None
    assert filled[0].tobytes() == samples[3][0][0].tobytes()
    assert [sample is None for sample, _ in samples.__getitems__([2, 3])] == [True, False]
