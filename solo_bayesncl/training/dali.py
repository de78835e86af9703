"""Batches read by NVIDIA DALI: the images, order and indexes of the torchvision loader.

Both releases leave the order to DALI's reader, with a seed of its own. Where the last batch of an
epoch is incomplete, solo-learn drops it together with what was already read of the next epoch, so
that epochs, and even batches, hold an image twice and miss others. Here each epoch is a pipeline of
its own that reads a list of files once: it depends on seed, epoch and process alone. The
augmentations are solo-learn's.

Building a pipeline took 10 ms, and 1.2 ms for every thousand files (CPU device, DALI 2.4).

Importing this module raises `InputError` where DALI cannot be imported.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from solo_bayesncl.adapters import adapter
from solo_bayesncl.adapters.datasets import statistics
from solo_bayesncl.adapters.protocol import Crops
from solo_bayesncl.adapters.shared import requires_dali
from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes import too_few_images
from solo_bayesncl.training.seeding import SeededLoader

with requires_dali():
    from nvidia.dali import fn, ops, pipeline_def, types
    from nvidia.dali.plugin.pytorch import DALIGenericIterator

_AHEAD = 4  # batches that DALI may have started on when it reports an error


class DALILoader:
    """Batches of one process, `floor(images / (batch size * processes))` in every epoch.

    Each is `[indexes, crops, targets]`, as from the torchvision loader: the images' positions in
    the data set (B,), a list of (B, 3, H, W) crops, and labels (B,), -1 where there are none.
    Images that do not fill a batch in all processes are left out, other ones in every epoch.

    Args:
        loader: the torchvision loader of an image folder, with or without labels.
        make_crops: builds the augmentations; called for every pipeline.
        cfg: settings with solo-learn's defaults.
        trainer: Lightning's; has epoch, process and device.

    Raises:
        InputError: if the images do not fill a step.
    """

    def __init__(
        self, loader: DataLoader, make_crops: Callable[[], Crops], cfg: DictConfig, trainer: Any
    ):
        self.files, targets = zip(*loader.dataset.samples, strict=True)
        self.targets = torch.tensor(targets)
        self.order = SeededLoader.like(loader, cfg.seed, trainer)
        self.make_crops = make_crops
        self.cfg = cfg
        self.trainer = trainer
        if len(self) == 0:
            raise InputError(too_few_images(cfg, trainer.world_size))

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Any]:
        epoch, rank = self.trainer.current_epoch, self.trainer.global_rank
        self.order.sampler.set_epoch(epoch)
        indexes = [index for batch in self.order.batch_sampler for _, index in batch]
        (seed,) = np.random.SeedSequence([self.cfg.seed, epoch, rank]).generate_state(1)
        device = self.cfg.dali.device
        # the model's GPU, which need not be that of the local rank
        gpu = None if device == "cpu" else self.trainer.strategy.root_device.index or 0
        pipeline = _pipeline(
            [self.files[index] for index in indexes],
            indexes,
            self.make_crops(),
            device,
            batch_size=self.order.batch_size,
            num_threads=self.cfg.data.num_workers,
            device_id=gpu,
            seed=int(seed),
        )
        pipeline.build()
        crops = [f"crop{number}" for number in range(pipeline.num_outputs - 1)]
        read = 0
        try:
            for (batch,) in DALIGenericIterator(pipeline, [*crops, "index"], reader_name="images"):
                index = batch["index"].flatten().long()
                read += len(index)
                yield self.batch(index, [batch[crop] for crop in crops], self.targets[index])
        except RuntimeError:
            self._require_readable(indexes[read : read + _AHEAD * self.order.batch_size])
            raise

    def batch(self, indexes: Tensor, crops: list[Tensor], targets: Tensor) -> Any:
        """The batch of a training step."""
        return [indexes, crops, targets]

    def _require_readable(self, indexes: list[int]) -> None:
        """Raises `OSError` naming the first file that cannot be read: DALI's errors name none."""
        for index in indexes:
            try:
                with Image.open(self.files[index]) as image:
                    image.load()
            except (OSError, SyntaxError) as error:
                raise OSError(f"{self.files[index]}: {error}") from error


class LabelledLoader(DALILoader):
    """For the linear probe: its batches are `(images, targets)`."""

    def batch(self, indexes: Tensor, crops: list[Tensor], targets: Tensor) -> Any:
        (images,) = crops
        return images, targets


def pretrain_loader(cfg: DictConfig, loader: DataLoader) -> Callable[[Any], DALILoader]:
    """From the trainer to crops for pretraining of a torchvision loader's images.

    Raises:
        InputError: for augmentations that DALI lacks.
    """
    return partial(DALILoader, loader, adapter().dali_augmentations(cfg), cfg)


def linear_loader(cfg: DictConfig, loader: DataLoader) -> Callable[[Any], LabelledLoader]:
    """From the trainer to labelled images for the linear probe, those of a torchvision loader."""
    return partial(LabelledLoader, loader, partial(_probe_crops, cfg), cfg)


@pipeline_def(enable_conditionals=True)  # main's augmentations branch
def _pipeline(files, indexes, crops, device):
    encoded, index = fn.readers.file(files=files, labels=indexes, name="images")
    images = fn.decoders.image(encoded, device="mixed" if device == "gpu" else "cpu")
    return (*crops(images), index)


def _probe_crops(cfg: DictConfig) -> Crops:
    """Random crop and flip of the linear probe at the recipe's size; solo-learn's is 224 px."""
    crop = cfg.data.augmentations
    mean, std = statistics(cfg.data.dataset, crop)
    resize = ops.RandomResizedCrop(
        device=cfg.dali.device,
        size=crop.crop_size,
        random_area=(0.08, 1.0),
        interp_type=types.INTERP_CUBIC,
    )
    normalize = ops.CropMirrorNormalize(
        device=cfg.dali.device,
        dtype=types.FLOAT,
        output_layout=types.NCHW,
        mean=[255 * value for value in mean],
        std=[255 * value for value in std],
    )
    flip = ops.random.CoinFlip(probability=0.5)
    return lambda images: [normalize(resize(images), mirror=flip())]
