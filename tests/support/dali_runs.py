"""Runs on images of one colour each, and what their training steps were given.

A module of its own, so that processes beside the tests' can import it.
"""

import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from conftest import RECIPES, tiny
from PIL import Image
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from solo_bayesncl import adapters, register
from solo_bayesncl.__main__ import main
from solo_bayesncl.adapters import adapter
from solo_bayesncl.adapters.shared import multi_crop
from solo_bayesncl.training import dali

OLD_RELEASE = adapters.find()[1].endswith("v1_0_2")
BATCH = 4
CLASSES = 2
DALI = ["data.format=dali", "dali.device=cpu", "data.num_workers=1"]
# what would change a crop of one colour
PLAIN = [
    f"augmentations.0.{name}.prob=0"
    for name in ("color_jitter", "grayscale", "gaussian_blur", "solarization")
]


@dataclass(frozen=True)
class Step:
    """What a training step was given.

    Attributes:
        epoch: of the trainer.
        indexes: the batch's first element; none in a linear probe.
        images: number of each image, read off its colour.
        targets: labels.
        crops: all pixels.
    """

    epoch: int
    indexes: list[int]
    images: list[int]
    targets: list[int]
    crops: torch.Tensor


def one_colour_images(folder: Path, count: int) -> Path:
    """`train/` of up to 64 JPEG files in two class folders, and the same as `val/` and `flat/`.

    Image i is the i-th in sorted order, of a colour that tells i.
    """
    for number in range(count):
        levels = 30 + 65 * np.array([number // 16 % 4, number // 4 % 4, number % 4])
        image = Image.fromarray(np.full((24, 24, 3), levels, dtype="uint8"))
        label = number * CLASSES // count
        for place in (f"train/class_{label}", f"val/class_{label}", "flat"):
            (folder / place).mkdir(parents=True, exist_ok=True)
            image.save(folder / place / f"{number:02}.jpg", quality=95)
    return folder


def numbers_of(crop: torch.Tensor) -> list[int]:
    """The images' numbers from (B, 3, H, W) normalised crops of them."""
    mean, std = torch.tensor(IMAGENET_DEFAULT_MEAN), torch.tensor(IMAGENET_DEFAULT_STD)
    levels = (crop.mean((2, 3)) * std + mean) * 255
    return (((levels - 30) / 65).round().long() * torch.tensor([16, 4, 1])).sum(1).tolist()


@contextmanager
def recorded(method: type, steps: list[Step]):
    """Adds what the method's training steps are given to `steps`; they do nothing else.

    What the models make of it is tested elsewhere, and takes a hundred times as long.
    """

    def record(self, batch, batch_idx):
        indexes, crops, targets = batch if len(batch) == 3 else ([], [batch[0]], batch[1])
        steps.append(
            Step(
                self.current_epoch,
                list(map(int, indexes)),
                numbers_of(crops[0]),
                targets.tolist(),
                torch.stack(list(crops)),  # a copy
            )
        )
        return sum(0 * weights.sum() for weights in self.parameters() if weights.requires_grad)

    with mock.patch.object(method, "training_step", record):
        yield


def pretrain(folder: Path, out: Path, *overrides: str, name: str = "ncl", own_encodes=None):
    """Trains with DALI through the command.

    Args:
        folder: of `one_colour_images`.
        out: for the run.
        overrides: more of them; there is no validation unless they give `data.val_path`.
        name: the recipe.
        own_encodes: None for our loader, else whether solo-learn's encodes indexes in labels.

    Returns:
        The steps of this process.
    """
    register()
    steps: list[Step] = []
    recipe = ["--config-path", str(RECIPES / "pretrain/custom"), "--config-name", name]
    size = [f"optimizer.batch_size={BATCH}", "wandb.enabled=False", "checkpoint.enabled=False"]
    size.append("data.val_path=null")
    overrides = tiny(folder, out, *DALI, *PLAIN, *size, *overrides)
    # 1.0.2's SimCLR is adapted: not what the registry holds
    method = adapter().SimCLR if name == "simclr" else adapter().METHODS[name.split("_")[0]]
    with ExitStack() as stack:
        stack.enter_context(recorded(method, steps))
        if own_encodes is not None:
            own = partial(solo_learns_loader, encode=own_encodes)
            stack.enter_context(mock.patch.object(dali, "pretrain_loader", own))
        assert main(["pretrain", *recipe, *overrides]) == 0
    return steps


def solo_learns_loader(cfg, loader, encode: bool):
    """solo-learn's own DALI loader for pretraining; it runs on the CPU, nothing else is changed."""
    data = (_own_of_1_0_2 if OLD_RELEASE else _own_of_main)(cfg, encode)

    def make_loader(trainer, unreadable):
        data.trainer = trainer
        data.setup("fit")
        return data.train_dataloader()

    return make_loader


def _own_of_main(cfg, encode: bool):
    from solo.data import dali_dataloader, pretrain_dataloader

    builder = dali_dataloader.PretrainPipelineBuilder
    builder.device_id = property(lambda self: None, lambda self, rank: None)  # no GPU
    build = partial(dali_dataloader.build_transform_pipeline_dali, "custom", dali_device="cpu")
    return dali_dataloader.PretrainDALIDataModule(
        dataset="custom",
        train_data_path=cfg.data.train_path,
        transforms=multi_crop(pretrain_dataloader, cfg, build),
        num_large_crops=2,
        num_small_crops=0,
        num_workers=1,
        batch_size=cfg.optimizer.batch_size,
        dali_device="cpu",
        encode_indexes_into_labels=encode,
    )


def _own_of_1_0_2(cfg, encode: bool):
    from nvidia.dali.pipeline import Pipeline
    from solo.methods import dali as solo_dali
    from solo.utils.dali_dataloader import PretrainPipeline

    from solo_bayesncl.adapters.v1_0_2.data import transform_options

    class OnCPU(Pipeline):
        def __init__(self, batch_size, num_threads, device_id, seed):
            super().__init__(batch_size, num_threads, None, seed)

    solo_dali.PretrainPipeline = type("PretrainPipeline", (PretrainPipeline, OnCPU), {})

    class Data(solo_dali.PretrainABC, adapter().pl.LightningDataModule):
        """As the release mixes it into a method."""

        def __init__(self):
            super().__init__()
            self.extra_args = {
                "dali_device": "cpu", "num_workers": 1, "dataset": "custom", "no_labels": False,
                "data_dir": "", "train_dir": cfg.data.train_path, "num_crops_per_aug": [2],
                "unique_augs": 1, "encode_indexes_into_labels": encode,
                "transform_kwargs": transform_options(cfg, cfg.augmentations[0]),
            }  # fmt: skip

        batch_size, device = cfg.optimizer.batch_size, "cpu"
        num_large_crops, num_small_crops = 2, 0
        local_rank = property(lambda self: self.trainer.local_rank)
        global_rank = property(lambda self: self.trainer.global_rank)

    return Data()


def on_two_nodes(rank: int, port: int, folder: str, results: str) -> None:
    """One of two processes, each alone on its node: trains with our data and with solo-learn's."""
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), NODE_RANK=str(rank), LOCAL_RANK="0"
    )
    torch.set_num_threads(1)
    steps = {
        data: pretrain(
            Path(folder), Path(results) / data, "num_nodes=2", "devices=1", "accelerator=cpu",
            "++strategy=ddp", "max_epochs=3", name="simclr", own_encodes=own_encodes,
        )
        for data, own_encodes in (("ours", None), ("solo-learn's", False))
    }  # fmt: skip
    torch.save(
        {data: [vars(step) for step in given] for data, given in steps.items()},
        Path(results) / f"steps{rank}.pt",
    )
    torch.distributed.barrier()
    os._exit(0)  # past the shutdown of gloo's threads, in which torch 2.15 sometimes aborts
