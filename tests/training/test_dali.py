"""DALI through the real training loop: steps, images, order, indexes, labels, of both releases."""

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("nvidia.dali")

import torch
import torch.multiprocessing as mp
from conftest import RECIPES, only_run, tiny
from dali_runs import (
    BATCH,
    CLASSES,
    DALI,
    OLD_RELEASE,
    on_two_nodes,
    one_colour_images,
    pretrain,
    recorded,
)
from test_adapters import recipe

from solo_bayesncl.__main__ import main
from solo_bayesncl.adapters import adapter
from solo_bayesncl.data import loaders
from solo_bayesncl.data.unreadable import Reading, UnreadableImages
from solo_bayesncl.errors import InputError
from solo_bayesncl.training.dali import pretrain_loader

RECIPE = ["--config-path", str(RECIPES / "pretrain/custom"), "--config-name", "ncl"]

solo_learns_fault = pytest.mark.xfail(
    raises=AssertionError,
    strict=True,
    reason="a fault of solo-learn's own DALI data; once it passes there, take this mark away",
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Number of images -> their folder."""
    return {n: one_colour_images(tmp_path_factory.mktemp(f"images_{n}"), n) for n in (16, 18)}


def of_epoch(steps, epoch: int) -> list[int]:
    return [image for step in steps if step.epoch == epoch for image in step.images]


def pixels(steps) -> torch.Tensor:
    return torch.stack([step.crops for step in steps])


def settings(folder, *overrides: str):
    size = f"optimizer.batch_size={BATCH}"
    return recipe(folder, folder / "out", "ncl", *DALI, size, *overrides)


def dali_loader(folder, *, epoch: int = 0, seed: int = 5, world_size: int = 1, skip: bool = False):
    """The training loader outside of a trainer."""
    cfg = settings(folder, f"seed={seed}")
    trainer = SimpleNamespace(current_epoch=epoch, global_rank=0, world_size=world_size)
    make_loader = pretrain_loader(cfg, loaders.pretrain_loader(cfg))
    return make_loader(trainer, UnreadableImages(Reading(skip=skip)))


@pytest.mark.parametrize(
    ("own_encodes", "images", "more", "steps_per_epoch"),
    [
        pytest.param(None, 16, ["++accumulate_grad_batches=3"], 4, id="ours, accumulated"),
        pytest.param(None, 18, ["validation"], 4, id="ours, two are left over, validation"),
        pytest.param(None, 18, ["++limit_train_batches=3"], 3, id="ours, epochs cut short"),
        pytest.param(
            False, 18, [], 4, id="solo-learn's, two are left over", marks=solo_learns_fault
        ),
    ],
)
def test_every_epoch_has_all_its_steps_and_no_image_twice(
    folders, tmp_path, own_encodes, images, more, steps_per_epoch
):
    """Users of solo-learn met halved, skipped and incomplete epochs (its issues 265 and 346)."""
    folder = folders[images]
    more = [f"data.val_path={folder}/val" if key == "validation" else key for key in more]
    steps = pretrain(folder, tmp_path, "max_epochs=3", *more, own_encodes=own_encodes)
    for epoch in range(3):
        seen = of_epoch(steps, epoch)
        assert len(seen) == BATCH * steps_per_epoch, epoch
        assert len(set(seen)) == len(seen), epoch


def test_index_and_label_are_those_of_the_image(folders, tmp_path):
    for step in pretrain(folders[18], tmp_path):
        assert step.indexes == step.images
        assert step.targets == [image * CLASSES // 18 for image in step.images]


def test_order_is_that_of_the_torchvision_loader(folders, tmp_path):
    dali, torchvision = (
        pretrain(folders[18], tmp_path / name, "max_epochs=2", "seed=3", f"data.format={name}")
        for name in ("dali", "image_folder")
    )
    assert [step.indexes for step in dali] == [step.indexes for step in torchvision]


def test_methods_see_the_same_crops(jpegs, tmp_path):
    """With every augmentation of the recipe."""
    augmented = [f"augmentations.0.{name}.prob=0.5" for name in ("color_jitter", "gaussian_blur")]
    cut = ["++limit_train_batches=2", "max_epochs=2", *augmented]
    ncl, bayesncl = (
        pixels(pretrain(jpegs, tmp_path / name, *cut, name=name)) for name in ("ncl", "bayesncl_gs")
    )
    assert torch.equal(ncl, bayesncl)


@pytest.mark.parametrize("other", [{"epoch": 1}, {"seed": 6}])
def test_order_and_augmentations_follow_seed_and_epoch(jpegs, other):
    def crops(**place):
        """Index -> first crop, in the order of the epoch."""
        batches = list(dali_loader(jpegs, **place))
        indexes = torch.cat([indexes for indexes, _, _ in batches]).tolist()
        return dict(zip(indexes, torch.cat([crops[0] for _, crops, _ in batches]), strict=True))

    first, again, another = crops(), crops(), crops(**other)
    assert list(again) == list(first) != list(another)
    assert sorted(first) == sorted(another) == list(range(48))
    assert all(torch.equal(first[index], again[index]) for index in first)
    assert not any(torch.equal(first[index], another[index]) for index in first)


def test_resumed_run_goes_on_with_the_epoch_that_it_had_reached(jpegs, tmp_path):
    kept = ["checkpoint.enabled=True", "++limit_train_batches=2"]
    whole = pretrain(jpegs, tmp_path / "whole", *kept, "max_epochs=3")
    pretrain(jpegs, tmp_path / "parts", *kept, "max_epochs=1")
    run = only_run(tmp_path / "parts", "ncl")
    (checkpoint,) = run.glob("*.ckpt")
    resumed = pretrain(
        jpegs, tmp_path / "parts", *kept, "max_epochs=3", f"resume_from_checkpoint={checkpoint}"
    )
    assert [step.epoch for step in resumed] == [1, 1, 2, 2]
    assert torch.equal(pixels(resumed), pixels(whole)[2:])


def test_fraction_is_that_of_the_torchvision_loader(folders, tmp_path):
    half = "++data.fraction=0.5"
    steps = pretrain(folders[16], tmp_path, half, "max_epochs=2")
    samples = loaders.pretrain_loader(settings(folders[16], half)).dataset.samples
    expected = sorted(int(Path(file).stem) for file, _ in samples)
    assert len(expected) == 8
    for epoch in range(2):
        assert sorted(of_epoch(steps, epoch)) == expected


def test_linear_probe_has_all_its_steps_and_no_image_twice(folders, tmp_path):
    trained = tiny(folders[16], tmp_path, "wandb.enabled=False", "data.val_path=null")
    assert main(["pretrain", *RECIPE, *trained]) == 0
    steps = []
    with recorded(adapter().LinearModel, steps):
        status = main(
            [
                "linear", "--config-path", str(RECIPES / "linear/custom"), "--config-name", "ncl",
                f"pretrained_feature_extractor={only_run(tmp_path, 'ncl')}",
                f"data.train_path={folders[18]}/train", f"data.val_path={folders[18]}/val",
                f"optimizer.batch_size={BATCH}", "max_epochs=3", "wandb.enabled=False",
                "data.augmentations.crop_size=16", "++enable_progress_bar=False",
                f"checkpoint.dir={tmp_path}", "checkpoint.enabled=False", *DALI,
            ]
        )  # fmt: skip
    assert status == 0
    for epoch in range(3):
        seen = of_epoch(steps, epoch)
        assert len(seen) == len(set(seen)) == 16
    assert all(step.targets == [image * CLASSES // 18 for image in step.images] for step in steps)


@pytest.fixture(scope="module")
def two_nodes(folders, tmp_path_factory):
    """Data -> (steps of the first node, of the second), in 3 epochs; two images are left over."""
    results = tmp_path_factory.mktemp("nodes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(on_two_nodes, (port, str(folders[18]), str(results)), nprocs=2)
    ranks = [torch.load(results / f"steps{rank}.pt", weights_only=True) for rank in range(2)]
    return {
        data: [[SimpleNamespace(**step) for step in rank[data]] for rank in ranks]
        for data in ranks[0]
    }


@pytest.mark.parametrize("data", ["ours", pytest.param("solo-learn's", marks=solo_learns_fault)])
def test_two_nodes_share_an_epoch(two_nodes, data):
    first, second = two_nodes[data]
    for epoch in range(3):
        assert len(of_epoch(first, epoch)) == len(of_epoch(second, epoch)) == 8
        assert len({*of_epoch(first, epoch), *of_epoch(second, epoch)}) == 16, epoch


@pytest.mark.parametrize("data", ["ours", pytest.param("solo-learn's", marks=solo_learns_fault)])
def test_indexes_of_different_images_differ_on_two_nodes(two_nodes, data):
    """Images of one index are positives of each other in solo-learn main."""
    for first, second in zip(*two_nodes[data], strict=True):
        assert len({*first.indexes, *second.indexes}) == 2 * BATCH


def test_batches_stay_as_they_were_given(folders):
    """DALI writes into its buffers anew."""
    batches, sums = [], []
    for batch in dali_loader(folders[18]):
        batches.append(batch)
        sums.append(torch.stack(batch[1]).sum())
    assert [torch.stack(crops).sum() for _, crops, _ in batches] == sums


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted on Linux")
def test_epochs_leave_no_threads_behind(folders):
    loader, threads = dali_loader(folders[18]), []
    for _ in range(12):
        iterator = iter(loader)
        next(iterator)  # as when a run is cut short
        del iterator
        threads.append(len(list(Path("/proc/self/task").iterdir())))
    assert threads[-1] <= threads[1]


def test_images_that_fill_no_step_of_all_processes_are_refused(folders):
    with pytest.raises(InputError, match="fewer images than .* in each of 5 processes"):
        dali_loader(folders[18], world_size=5)


def test_images_may_lie_deeper_than_in_the_folder_of_their_class(tmp_path):
    folder = one_colour_images(tmp_path, 16)
    for image in list((folder / "train").glob("*/*.jpg")):
        image.parent.joinpath("deeper").mkdir(exist_ok=True)
        image.rename(image.parent / "deeper" / image.name)
    assert len(dali_loader(folder)) == 4


@pytest.mark.skipif(OLD_RELEASE, reason="solo-learn 1.0.2 cannot equalize at all")
def test_equalization_is_refused(folders):
    cfg = settings(folders[16])
    cfg.augmentations[0].equalization.prob = 0.1
    with pytest.raises(InputError, match=r"data.format=dali cannot equalize"):
        pretrain_loader(cfg, loaders.pretrain_loader(cfg))
