"""Reads and transforms single images for a trained model."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import Tensor

from solo_bayesncl.data.transforms import SIZES, evaluation_transform, statistics
from solo_bayesncl.errors import InputError


class ImageTransform:
    """A run's evaluation transform, for images of any size and colour mode.

    Images that have the fixed size of the run's data set (CIFAR, STL-10) are only normalised; other
    images are resized and cropped to it.
    """

    def __init__(self, cfg: DictConfig):
        dataset, crop = cfg.data.dataset, cfg.augmentations[0]
        mean, std = map(list, statistics(dataset, crop))
        other_crop = OmegaConf.create({"crop_size": crop.crop_size, "mean": mean, "std": std})
        self.size: int | None = SIZES.get(dataset)
        self.own = evaluation_transform(dataset, crop)
        self.other = evaluation_transform("custom", other_crop)

    def __call__(self, image: Image.Image) -> Tensor:
        transform = self.own if image.size == (self.size, self.size) else self.other
        return transform(image.convert("RGB"))

    def __repr__(self) -> str:
        return f"ImageTransform({self.other})"


def read_image(path: Path) -> Image.Image:
    """An image file in RGB; raises `InputError` if it is not one."""
    try:
        return Image.open(path).convert("RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as an image: {error}.") from error
