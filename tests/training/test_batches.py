"""`data.augment=batch` in training: the same images for everybody, however they are kept."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import RECIPES, make_images, only_run
from emulated_cuda import CUDA, EmulatedCuda
from PIL import Image
from small_runs import arguments, assert_same_training, at
from test_adapters import recipe

from solo_bayesncl.__main__ import main
from solo_bayesncl.adapters import adapter
from solo_bayesncl.data import loaders
from solo_bayesncl.data.decoded import common_side, decode
from solo_bayesncl.data.transforms import without_transform
from solo_bayesncl.data.unreadable import ReadableSamples, Reading, UnreadableImages
from solo_bayesncl.errors import InputError
from solo_bayesncl.training.batches import BatchLoader, BatchSamples
from solo_bayesncl.training.seeding import SeededLoader

pytestmark = pytest.mark.usefixtures("narrow_backbone")

BATCH = "++data.augment=batch"


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """`train/` of images of several sizes."""
    folder = tmp_path_factory.mktemp("photos")
    make_images(folder / "train", classes=3, per_class=8, size=40)
    for number, file in enumerate(sorted(folder.rglob("*.png"))):
        with Image.open(file) as image:
            image.resize((40 + number % 5, 50 - number % 3)).save(file)
    return folder


def trainer_in(epoch: int = 0, rank: int = 0, world_size: int = 1, device: str = "cpu"):
    strategy = SimpleNamespace(root_device=torch.device(device))
    return SimpleNamespace(
        current_epoch=epoch, global_rank=rank, world_size=world_size, strategy=strategy
    )


def settings(folder: Path, *overrides: str):
    """Of a recipe with every operation."""
    unvalidated = "data.val_path=null"
    cfg = recipe(folder, folder, "bayesncl", "accelerator=cpu", unvalidated, BATCH, *overrides)
    for name in ("gaussian_blur", "solarization", "equalization"):
        cfg.augmentations[0][name] = {"prob": 0.5}
    return cfg


def loader_of(folder: Path, *overrides: str, skip: bool = False, **place) -> BatchLoader:
    cfg = settings(folder, *overrides)
    source = loaders.pretrain_loader(cfg)
    return BatchLoader(source, cfg, trainer_in(**place), UnreadableImages(Reading(skip=skip)))


def by_index(*of_ranks: BatchLoader) -> list[dict[int, tuple]]:
    """Of each global batch, index -> (label, crops)."""
    batches = []
    for parts in zip(*of_ranks, strict=True):
        batch = {}
        for indexes, crops, targets in parts:
            for row, index in enumerate(indexes.tolist()):
                batch[index] = targets[row].item(), torch.stack([crop[row] for crop in crops])
        batches.append(batch)
    return batches


def assert_equal(found: list[dict], expected: list[dict]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for index, (label, crops) in theirs.items():
            assert ours[index][0] == label
            assert torch.equal(ours[index][1], crops)


def test_order_indexes_and_labels_are_those_of_the_torchvision_loader(images):
    cfg = settings(images)
    expected = SeededLoader.like(loaders.pretrain_loader(cfg), cfg.seed, trainer_in(1))
    found = loader_of(images, epoch=1)
    assert len(found) == len(expected) == 3
    for (indexes, crops, targets), (theirs, their_crops, labels) in zip(
        found, expected, strict=True
    ):
        assert torch.equal(indexes, theirs)
        assert torch.equal(targets, labels)
        assert [crop.shape for crop in crops] == [crop.shape for crop in their_crops]


@pytest.mark.parametrize("kind", ["images", "photos"])
def test_crops_depend_on_seed_and_epoch_alone(request, kind, monkeypatch):
    """Not on processes, loader processes, or whether the images are kept in memory."""
    folder = request.getfixturevalue(kind)
    expected = by_index(loader_of(folder, "optimizer.batch_size=8"))
    ranks = [
        loader_of(folder, "optimizer.batch_size=4", rank=rank, world_size=2) for rank in (0, 1)
    ]
    assert_equal(by_index(*ranks), expected)
    assert ranks[0].decoded is not None
    monkeypatch.setattr("solo_bayesncl.memory.available", lambda: 0)
    for workers in (0, 2):
        too_large = loader_of(folder, "optimizer.batch_size=8", f"data.num_workers={workers}")
        assert too_large.decoded is None
        assert_equal(by_index(too_large), expected)
    for other in ({"epoch": 1}, {"seed": 6}):
        more = [f"seed={other.pop('seed')}"] if "seed" in other else []
        batches = by_index(loader_of(folder, "optimizer.batch_size=8", *more, **other))
        crops = {index: pair[1] for batch in batches for index, pair in batch.items()}
        before = {index: pair[1] for batch in expected for index, pair in batch.items()}
        assert crops.keys() == before.keys()
        assert not any(torch.equal(crops[index], before[index]) for index in crops)


def test_photos_are_read_from_memory_in_loader_processes(photos, monkeypatch):
    loader = loader_of(photos, "optimizer.batch_size=8", "data.num_workers=2")
    monkeypatch.setattr("solo_bayesncl.data.images.open_image", None)  # no file can be opened
    assert len(list(loader)) == 3


def test_images_that_do_not_fit_in_memory_are_named_once_a_run(images, monkeypatch, caplog):
    monkeypatch.setattr("solo_bayesncl.memory.available", lambda: 1000)
    with caplog.at_level("INFO"):
        loader_of(images)
    assert "decoded for each batch" in caplog.text


def test_memory_is_shared_among_the_processes_of_a_machine(images, monkeypatch):
    """48 images of 3072 bytes, of which half of the memory may be filled."""
    dataset = loaders.pretrain_loader(settings(images)).dataset
    unreadable = UnreadableImages(Reading())
    monkeypatch.setattr("solo_bayesncl.memory.available", lambda: 2 * 48 * 3072)
    assert decode(dataset, unreadable, processes=1) is not None
    assert decode(dataset, unreadable, processes=2) is None


def test_only_squares_of_one_size_are_cropped_on_the_device(images, photos):
    assert loader_of(images).crops_on_device
    assert not loader_of(photos, "optimizer.batch_size=8").crops_on_device
    assert common_side(loaders.pretrain_loader(settings(images)).dataset) == 32


def test_images_above_pillows_limit_are_cropped_in_any_process(photos, monkeypatch):
    """Spawned loader processes have Pillow's limit, not that of the run."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    cfg = settings(photos)
    images = without_transform(loaders.pretrain_loader(cfg).dataset)
    samples = ReadableSamples(images, Reading(max_pixels=10**6))
    batches = BatchSamples(samples, cfg, whole=False, finish=True)
    (_, _, crops, _), _ = batches.__getitems__([(0, 1)])
    assert crops[0].shape == (1, 3, 16, 16)


@pytest.fixture
def damaged(tmp_path) -> Path:
    """Images of which those at 1, 2 and 47 cannot be read."""
    make_images(tmp_path / "train", classes=6, per_class=8)
    for name in ("class_0/1.png", "class_0/2.png", "class_5/7.png"):
        (tmp_path / "train" / name).write_bytes(b"no image")
    return tmp_path


@pytest.mark.parametrize("memory", [0, 10**9])
def test_the_next_image_takes_the_place_of_an_unreadable_one(damaged, monkeypatch, memory):
    """As in the torchvision loader, and with random numbers of the place."""
    monkeypatch.setattr("solo_bayesncl.memory.available", lambda: memory)
    loader = loader_of(damaged, skip=True)
    cfg = settings(damaged)
    expected = SeededLoader.like(
        loaders.pretrain_loader(cfg), cfg.seed, trainer_in(), UnreadableImages(Reading(skip=True))
    )
    pairs = list(zip(loader, expected, strict=True))
    assert all(torch.equal(ours[0], theirs[0]) for ours, theirs in pairs)
    assert all(torch.equal(ours[2], theirs[2]) for ours, theirs in pairs)
    assert sorted(Path(name).name for name in loader.loader.unreadable.reasons) == [
        "1.png", "2.png", "7.png",
    ]  # fmt: skip


@pytest.mark.parametrize("memory", [0, 10**9])
def test_unreadable_image_stops_a_run_with_one_message(damaged, monkeypatch, memory, capsys):
    monkeypatch.setattr("solo_bayesncl.memory.available", lambda: memory)
    out = damaged / "out"
    assert main(arguments(damaged, out, BATCH, "data.val_path=null")) == 2
    message = capsys.readouterr().err
    assert "class_0/1.png cannot be read as an image: it is empty" in message
    assert "data.on_corrupt=skip" in message
    assert "Traceback" not in message
    assert not list(out.rglob("args.json"))


def test_unreadable_images_are_listed_by_the_run(damaged):
    out = damaged / "out"
    typed = arguments(damaged, out, BATCH, "data.val_path=null", "++data.on_corrupt=skip")
    assert main(typed) == 0
    assert len((only_run(out, "bayesncl") / "skipped_images.txt").read_text().splitlines()) == 3


def test_without_a_readable_image_there_is_one_message(damaged):
    for file in damaged.rglob("*.png"):
        file.write_bytes(b"no image")
    with pytest.raises(InputError, match="None of 48 images can be read"):
        list(loader_of(damaged, skip=True))


def test_a_tenth_and_images_without_labels_are_read(images, tmp_path):
    half = loader_of(images, "++data.fraction=0.5", "optimizer.batch_size=8")
    assert len(half.decoded) == 24
    for file in images.glob("train/*/*.png"):
        (tmp_path / "train").mkdir(exist_ok=True)
        (tmp_path / "train" / f"{file.parent.name}{file.name}").write_bytes(file.read_bytes())
    for _, _, targets in loader_of(tmp_path, "data.no_labels=True"):
        assert set(targets.tolist()) == {-1}


def test_cifar_is_read_where_torchvision_keeps_it(images, cifar10):
    cfg = settings(images)
    cfg.data.dataset, cfg.data.train_path = "cifar10", str(cifar10)
    source = loaders.pretrain_loader(cfg)
    loader = BatchLoader(source, cfg, trainer_in(), UnreadableImages(Reading()))
    assert loader.decoded.pixels.data_ptr() == source.dataset.data.ctypes.data
    for indexes, crops, targets in loader:
        assert torch.equal(targets, torch.tensor(source.dataset.targets)[indexes])
        assert crops[0].shape == (16, 3, 16, 16)


def test_channels_of_stl10_are_moved_to_the_end():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 6, 6), dtype=np.uint8)
    stl10 = SimpleNamespace(data=pixels, labels=np.array([3, -1, 0, 1]))
    found = decode(stl10, UnreadableImages(Reading()))
    assert np.array_equal(found.pixels.numpy(), pixels.transpose(0, 2, 3, 1))
    assert found.labels.tolist() == [3, -1, 0, 1]
    assert common_side(stl10) == 6


@pytest.fixture(scope="module")
def undisturbed(narrow_backbone, images, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    assert main(arguments(images, out, BATCH)) == 0
    return only_run(out, "bayesncl")


def test_methods_train_on_the_same_crops(images, tmp_path, monkeypatch):
    seen = {}
    for name in ("ncl", "bayesncl_gs"):
        crops = seen[name] = []
        step = adapter().BaseMethod.training_step

        def record(self, batch, batch_idx, step=step, crops=crops):
            crops.append(torch.stack(batch[1]))
            return step(self, batch, batch_idx)

        with monkeypatch.context() as patch:
            patch.setattr(adapter().BaseMethod, "training_step", record)
            assert main(arguments(images, tmp_path, BATCH, recipe=name)) == 0
    assert len(seen["ncl"]) == 6
    assert torch.equal(torch.stack(seen["ncl"]), torch.stack(seen["bayesncl_gs"]))


@pytest.mark.parametrize("moment", ["in a step", "after a checkpoint is renamed"])
def test_run_stopped_and_continued_ends_as_if_undisturbed(images, tmp_path, moment, undisturbed):
    typed = arguments(images, tmp_path, BATCH)
    with at(moment, lambda: os.kill(os.getpid(), signal.SIGTERM)):
        assert main(typed) == 143
    assert main(typed) == 0
    assert_same_training(only_run(tmp_path, "bayesncl"), undisturbed)


REFUSED = {
    "data.format=dali": "data.augment=batch augments images of image folders",
    "data.format=h5": "data.augment=batch augments images of image folders",
    "data.augment=batches": "data.augment='batches': give one of image, batch",
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_cannot_be_augmented_is_refused(images, tmp_path, override, capsys):
    typed = [BATCH, override] if override.startswith("data.format") else [f"++{override}"]
    assert main(arguments(images, tmp_path, *typed)) == 2
    assert REFUSED[override] in capsys.readouterr().err


def test_photos_without_random_crops_are_refused(photos):
    with pytest.raises(InputError, match="must be squares of one size: set data.augment=image"):
        cfg = settings(photos)
        cfg.augmentations[0].rrc.enabled = False
        source = loaders.pretrain_loader(cfg)
        BatchLoader(source, cfg, trainer_in(), UnreadableImages(Reading()))


def test_linear_probe_refuses_batches(images, tmp_path, capsys):
    linear = ["--config-path", str(RECIPES / "linear/custom"), "--config-name", "bayesncl"]
    paths = [f"data.{split}_path={images}/{split}" for split in ("train", "val")]
    feature = f"pretrained_feature_extractor={tmp_path}"
    assert main(["linear", *linear, *paths, feature, BATCH]) == 2
    assert "data.augment='batch': give image (batch is for pretraining)" in capsys.readouterr().err


@pytest.mark.skipif(
    not hasattr(torch._C, "_ensureCUDADeviceGuardSet"), reason="torch cannot emulate CUDA"
)
@pytest.mark.parametrize("kind", ["images", "photos"])
def test_crops_are_made_on_the_gpu_without_a_wait(request, kind):
    folder = request.getfixturevalue(kind)
    expected = list(loader_of(folder, "optimizer.batch_size=8"))
    loader = loader_of(folder, "optimizer.batch_size=8", device="cuda:0")
    with EmulatedCuda() as gpu:
        batches = list(loader)
        assert gpu.waits == []
    for found, wanted in zip(batches, expected, strict=True):
        for ours, theirs in zip(
            (found[0], *found[1], found[2]), (wanted[0], *wanted[1], wanted[2]), strict=True
        ):
            assert ours.device == CUDA
            torch.testing.assert_close(ours.values, theirs)
