"""The crops of a batch of images, of the distribution of solo-learn's transforms.

Between operations crops are uint8, so that each operation rounds as Pillow's does.
"""

from collections.abc import Sequence

import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from solo_bayesncl.adapters.datasets import statistics
from solo_bayesncl.data.augment.parameters import Step, crop_boxes, draw, steps
from solo_bayesncl.data.augment.resampling import resized_crops
from solo_bayesncl.recipes.augmentations import Augmentation
from solo_bayesncl.recipes.validation import validate

# values that an operation takes at once on a CPU: what fits in its cache is twice as fast
_CACHED = 2**18


class BatchAugmentation:
    """Makes the crops of images that solo-learn's transforms make of each image.

    Args:
        cfg: settings with solo-learn's defaults.
        device: on which the crops are made.
    """

    def __init__(self, cfg: DictConfig, device: torch.device):
        self.device = device
        self.entries = entries_of(cfg)
        # (mean, std), in levels
        self.statistics = [
            upload(255 * torch.tensor(statistics(cfg.data.dataset, entry))[..., None, None], device)
            for entry in cfg.augmentations
        ]

    def of_images(self, images: Tensor, indexes: np.ndarray, seed: int) -> list[Tensor]:
        """All crops of images of one size.

        Args:
            images: (B, H, W, 3), uint8, on the CPU.
            indexes: (B,), of the images in the data set.
            seed: of the epoch.

        Returns:
            a list of (B, 3, size, size), normalised, on the device.
        """
        heights, widths = (np.full(len(images), side) for side in images.shape[1:3])
        drawn, boxes = [], []
        for number, entry in _numbered(self.entries):
            drawn.append(draw(seed, indexes, number))
            boxes.append(crop_boxes(entry, drawn[-1], heights, widths))
        sizes = [entry.crop_size for _, entry in _numbered(self.entries)]
        images = upload(images, self.device)
        boxes = upload(torch.from_numpy(np.stack(boxes)), self.device)
        return self._finished(_cut(images, boxes, sizes), drawn)

    def of_crops(self, crops: Sequence[Tensor], indexes: np.ndarray, seed: int) -> list[Tensor]:
        """The same from crops that `cut` has made: a list of (B, 3, size, size), uint8."""
        drawn = [draw(seed, indexes, number) for number, _ in _numbered(self.entries)]
        return self._finished([upload(crop, self.device) for crop in crops], drawn)

    def _finished(self, crops: list[Tensor], drawn: list[np.ndarray]) -> list[Tensor]:
        finished = []
        for entry, (mean, std) in zip(self.entries, self.statistics, strict=True):
            count = slice(len(finished), len(finished) + entry.num_crops)
            images = torch.cat(crops[count])
            _apply(steps(entry, np.concatenate(drawn[count])), images)
            finished += images.sub(mean).div_(std).chunk(entry.num_crops)
        return finished


def entries_of(cfg: DictConfig) -> list[Augmentation]:
    """The entries of a recipe's `augmentations`."""
    return [validate(Augmentation, entry) for entry in cfg.augmentations]


def cut(
    entries: Sequence[Augmentation], images: Sequence[Image.Image], indexes: np.ndarray, seed: int
) -> list[Tensor]:
    """The crops of images of any size, resized by Pillow: a list of (B, 3, size, size), uint8.

    What else is done to crops is left to `BatchAugmentation`. Arguments are those of `of_images`.
    """
    widths, heights = np.array([image.size for image in images]).T
    crops = []
    for number, entry in _numbered(entries):
        boxes = crop_boxes(entry, draw(seed, indexes, number), heights, widths).tolist()
        parts = [
            F.resized_crop(image, *box, [entry.crop_size] * 2, InterpolationMode.BICUBIC)
            for image, box in zip(images, boxes, strict=True)
        ]
        crops.append(torch.stack([F.pil_to_tensor(part) for part in parts]))
    return crops


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device; the CPU does not wait for the copy."""
    if device.type == "cuda" and torch.cuda.is_available():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def _numbered(entries: Sequence[Augmentation]) -> list[tuple[int, Augmentation]]:
    """Each crop's number and entry."""
    return list(enumerate(entry for entry in entries for _ in range(entry.num_crops)))


def _cut(images: Tensor, boxes: Tensor, sizes: list[int]) -> list[Tensor]:
    """Of images (B, H, W, 3) and boxes (crops, B, 4), the crops (B, 3, size, size)."""
    parts: list[list[Tensor]] = [[] for _ in sizes]
    at_once = _at_once(images)
    for some, their_boxes in zip(images.split(at_once), boxes.split(at_once, dim=1), strict=True):
        pixels = some.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        for part, box, size in zip(parts, their_boxes, sizes, strict=True):
            part.append(resized_crops(pixels, box, size))
    return [torch.cat(part) for part in parts]


def _apply(todo: list[Step], images: Tensor) -> None:
    """Changes images (n, 3, H, W) in place."""
    if not todo:
        return
    counts = [len(step.rows) for step in todo]
    rows = upload(torch.from_numpy(np.concatenate([step.rows for step in todo])), images.device)
    values = np.concatenate([step.values for step in todo]).astype(np.float32)
    values = upload(torch.from_numpy(values), images.device)
    at_once = _at_once(images)
    for step, *parts in zip(todo, rows.split(counts), values.split(counts), strict=True):
        for some, their in zip(*(part.split(at_once) for part in parts), strict=True):
            changed = step.operation(images.index_select(0, some), their)
            _words(images).index_copy_(0, some, _words(changed))


def _words(images: Tensor) -> Tensor:
    """A view (n, words) of uint8 in words of 8 bytes, if they fill some: copied 8 times as fast."""
    flat = images.contiguous().flatten(1)
    return flat.view(torch.int64) if flat.shape[1] % 8 == 0 else flat


def _at_once(images: Tensor) -> int:
    if images.device.type != "cpu":
        return len(images)
    return max(1, _CACHED // images[0].numel())
