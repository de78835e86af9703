"""Batches read by NVIDIA DALI: the images, order and indexes of the torchvision loader.

Both releases leave the order to DALI's reader, with a seed of its own. Where the last batch of an
epoch is incomplete, solo-learn drops it together with what was already read of the next epoch, so
that epochs, and even batches, hold an image twice and miss others. Here each epoch is a pipeline of
its own that is given the files' content once: it depends on seed, epoch and process alone. The
augmentations are solo-learn's.

DALI decodes plain JPEG files. It decodes others differently or not at all (16 bits, CMYK, GIF), so
it is given their pixels, as `read_image` reads them.

Building a pipeline took 10 ms (CPU device, DALI 2.4).

Importing this module raises `InputError` where DALI cannot be imported.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from solo_bayesncl.adapters import adapter
from solo_bayesncl.adapters.datasets import statistics
from solo_bayesncl.adapters.protocol import Crops
from solo_bayesncl.adapters.shared import requires_dali
from solo_bayesncl.data.images import open_image, orientation, read_image
from solo_bayesncl.data.unreadable import ReadableSamples, UnreadableImages, require_readable
from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes import too_few_images
from solo_bayesncl.training.seeding import SeededLoader

with requires_dali():
    from nvidia.dali import fn, ops, pipeline_def, types
    from nvidia.dali.plugin.pytorch import DALIGenericIterator

# tag 0x112 of type 3, with either byte first
_SHORT_ORIENTATION = (b"\x01\x12\x00\x03", b"\x12\x01\x03\x00")
_BATCHES_AHEAD = 2  # read before DALI asks for them


class EncodedImages(Dataset):
    """(index, content) of image files: what DALI decodes to the pixels that `read_image` gives.

    Args:
        files: their paths.
        decode_jpegs: whether DALI decodes plain JPEG files, or is given pixels only.
    """

    def __init__(self, files: Sequence[str], decode_jpegs: bool):
        self.files = files
        self.decode_jpegs = decode_jpegs

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[int, np.ndarray]:
        file = self.files[index]
        content = _plain_jpeg(file) if self.decode_jpegs else None
        if content is None:
            image = read_image(file)
            content = b"P6 %d %d 255\n" % image.size + image.tobytes()  # a PPM file
        return index, np.frombuffer(content, np.uint8)


def _plain_jpeg(file: str) -> bytes | None:
    """A file's content if it is a JPEG that all decoders decode alike, else None."""
    with open_image(file) as image:
        plain = (
            image.format in ("JPEG", "MPO")
            and image.mode in ("L", "RGB")
            and _is_orientation_plain(image)
        )
        if not plain:
            return None
        image.fp.seek(0)
        content = image.fp.read()
    # of several EXIF blocks, DALI and Pillow take different ones; without its end it is truncated
    plain = content.count(b"Exif\0\0") < 2 and content.endswith(b"\xff\xd9")
    return content if plain else None


def _is_orientation_plain(image: Image.Image) -> bool:
    """Whether DALI finds the same orientation as Pillow: as a short integer in whole EXIF data."""
    if b"tiff:Orientation" in image.info.get("xmp", b""):
        return False
    exif = image.info.get("exif")
    return exif is None or (
        orientation(image) in range(1, 9) and any(entry in exif for entry in _SHORT_ORIENTATION)
    )


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
        unreadable: takes the images that cannot be read.

    Raises:
        InputError: if the images do not fill a step.
    """

    def __init__(
        self,
        loader: DataLoader,
        make_crops: Callable[[], Crops],
        cfg: DictConfig,
        trainer: Any,
        unreadable: UnreadableImages,
    ):
        files, targets = zip(*loader.dataset.samples, strict=True)
        self.targets = torch.tensor(targets)
        self.samples, self.as_pixels = (
            ReadableSamples(EncodedImages(files, decode_jpegs), unreadable.reading, replace=True)
            for decode_jpegs in (True, False)
        )
        self.order = SeededLoader.like(loader, cfg.seed, trainer)
        self.make_crops = make_crops
        self.cfg = cfg
        self.trainer = trainer
        self.unreadable = unreadable
        if len(self) == 0:
            raise InputError(too_few_images(cfg, trainer.world_size))

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Any]:
        self.order.sampler.set_epoch(self.trainer.current_epoch)
        batches = [[index for _, index in batch] for batch in self.order.batch_sampler]
        done, failed = 0, None
        while done < len(batches):
            try:
                for batch in self._decoded(batches[done:], done, retry=failed == done):
                    yield batch
                    done += 1
            except RuntimeError:  # of DALI, for a file that it does not name; it cannot go on
                if failed == done:
                    raise
                failed = done

    def batch(self, indexes: Tensor, crops: list[Tensor], targets: Tensor) -> Any:
        """The batch of a training step."""
        return [indexes, crops, targets]

    def _decoded(self, batches: list[list[int]], first: int, retry: bool) -> Iterator[Any]:
        """An epoch's batches from number `first` on; to retry is to give that one as pixels."""
        epoch, rank = self.trainer.current_epoch, self.trainer.global_rank
        (seed,) = np.random.SeedSequence([self.cfg.seed, epoch, rank, first]).generate_state(1)
        device = self.cfg.dali.device
        # the model's GPU, which need not be that of the local rank
        gpu = None if device == "cpu" else self.trainer.strategy.root_device.index or 0
        threads = self.cfg.data.num_workers
        pool, indexes = ThreadPoolExecutor(threads), deque()
        try:
            pipeline = _pipeline(
                self._read(batches, retry, pool, indexes),
                self.make_crops(),
                device,
                batch_size=self.order.batch_size,
                num_threads=threads,
                device_id=gpu,
                seed=int(seed),
            )
            pipeline.build()
            names = [f"crop{number}" for number in range(pipeline.num_outputs)]
            for (crops,) in DALIGenericIterator(pipeline, names):
                index = indexes.popleft()
                yield self.batch(index, [crops[name] for name in names], self.targets[index])
        finally:
            pool.shutdown(cancel_futures=True)

    def _read(
        self,
        batches: list[list[int]],
        retry: bool,
        pool: ThreadPoolExecutor,
        indexes: deque[Tensor],
    ) -> Iterator[list[np.ndarray]]:
        """Contents of each batch, read ahead; the images' indexes are added to `indexes`."""
        waiting = deque()
        for number, batch in enumerate(batches):
            samples = self.as_pixels if retry and number == 0 else self.samples
            waiting.append([pool.submit(samples.__getitem__, index) for index in batch])
            if len(waiting) > _BATCHES_AHEAD:
                yield self._contents(waiting.popleft(), indexes)
        while waiting:
            yield self._contents(waiting.popleft(), indexes)

    def _contents(self, reads: list[Future], indexes: deque[Tensor]) -> list[np.ndarray]:
        samples, failures = zip(*(read.result() for read in reads), strict=True)
        for failed in failures:
            self.unreadable.add(failed.values())
            if len(failed) == len(self.targets):
                require_readable(failed)
        indexes.append(torch.tensor([index for index, _ in samples]))
        return [content for _, content in samples]


class LabelledLoader(DALILoader):
    """For the linear probe: its batches are `(images, targets)`."""

    def batch(self, indexes: Tensor, crops: list[Tensor], targets: Tensor) -> Any:
        (images,) = crops
        return images, targets


def pretrain_loader(cfg: DictConfig, loader: DataLoader) -> Callable[..., DALILoader]:
    """From the trainer, and what takes unreadable images, to crops for pretraining.

    Args:
        cfg: settings with solo-learn's defaults.
        loader: torchvision's, of the same images.

    Raises:
        InputError: for augmentations that DALI lacks.
    """
    return partial(DALILoader, loader, adapter().dali_augmentations(cfg), cfg)


def linear_loader(cfg: DictConfig, loader: DataLoader) -> Callable[..., LabelledLoader]:
    """The same to labelled images for the linear probe."""
    return partial(LabelledLoader, loader, partial(_probe_crops, cfg), cfg)


@pipeline_def(enable_conditionals=True)  # main's augmentations branch
def _pipeline(contents, crops, device):
    encoded = fn.external_source(source=contents, dtype=types.UINT8, ndim=1)
    images = fn.decoders.image(encoded, device="mixed" if device == "gpu" else "cpu")
    return tuple(crops(images))


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
