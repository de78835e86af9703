"""From one image to the tensor that a trained model takes."""

from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig
from PIL import Image
from torch import Tensor

from solo_bayesncl.data.transforms import SIZES, as_image_folder, evaluation_transform
from solo_bayesncl.errors import InputError


class ImageTransform:
    """A run's evaluation transform, for images of any size and colour mode.

    Images of a data set that has one size (CIFAR, STL-10) are taken as they are; other images are
    resized and cropped to it.
    """

    def __init__(self, cfg: DictConfig):
        self.size: int | None = SIZES.get(cfg.data.dataset)
        self.own = evaluation_transform(cfg.data.dataset, cfg.augmentations[0])
        folders = as_image_folder(cfg)
        self.other = evaluation_transform(folders.data.dataset, folders.augmentations[0])

    def __call__(self, image: Image.Image) -> Tensor:
        transform: Callable = self.own if image.size == (self.size, self.size) else self.other
        return transform(image.convert("RGB"))

    def __repr__(self) -> str:
        return f"ImageTransform({self.other})"


def read_image(path: Path) -> Image.Image:
    """An image file in RGB; raises `InputError` if it is not one."""
    try:
        return Image.open(path).convert("RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as an image: {error}.") from error
