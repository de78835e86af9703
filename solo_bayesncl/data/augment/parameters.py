"""What is done to each crop of a batch, drawn as torchvision and solo-learn draw it.

An image's numbers depend on nothing but (seed of the epoch, index, number of the crop): not on the
batch, the process or the method that it is drawn for.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from solo_bayesncl.data.augment import colors
from solo_bayesncl.data.augment.philox import uniforms
from solo_bayesncl.data.augment.resampling import gaussian_blur
from solo_bayesncl.recipes.augmentations import Augmentation, ColorJitter

# of torchvision's RandomResizedCrop and of solo-learn's GaussianBlur
_RATIOS = (3 / 4, 4 / 3)
_SIGMAS = (0.1, 2.0)
_JITTER = {
    "brightness": colors.adjust_brightness,
    "contrast": colors.adjust_contrast,
    "saturation": colors.adjust_saturation,
    "hue": colors.adjust_hue,
}
# after the jitter, in this order
_FIXED = {
    "grayscale": lambda images, _: colors.grayscale(images),
    "gaussian_blur": gaussian_blur,
    "solarization": lambda images, _: colors.solarize(images),
    "equalization": lambda images, _: colors.equalize(images),
    "horizontal_flip": lambda images, _: images.flip(-1),
}
# places of an image's random numbers, so that no setting moves those of another; the first are of
# the ten attempts of RandomResizedCrop
_AREA, _RATIO, _CORNER = slice(0, 10), slice(10, 20), slice(20, 22)
_JITTERED, _ORDER, _FACTORS = 22, slice(23, 27), slice(27, 31)
_SIGMA, _CHANCES = 31, slice(32, 37)
_COUNT = 37


@dataclass(frozen=True)
class Step:
    """An operation on some images of a batch.

    Attributes:
        operation: from images (k, 3, H, W) in uint8, and their values (k,), to new images.
        rows: (k,) which images.
        values: (k,) what the operation takes beside an image, such as a factor.
    """

    operation: Callable[[Tensor, Tensor], Tensor]
    rows: np.ndarray
    values: np.ndarray


def draw(seed: int, indexes: np.ndarray, crop: int) -> np.ndarray:
    """All random numbers of a crop of each image.

    Args:
        seed: of the epoch, 64 bits.
        indexes: (n,), of the images in the data set.
        crop: its number among the crops of an image.

    Returns:
        (n, numbers), for `crop_boxes` and `steps`.
    """
    return uniforms(seed, indexes, crop, _COUNT)


def crop_boxes(
    augmentation: Augmentation, drawn: np.ndarray, heights: np.ndarray, widths: np.ndarray
) -> np.ndarray:
    """The parts of images that are resized: torchvision's RandomResizedCrop, or whole images.

    Args:
        augmentation: an entry of a recipe's `augmentations`.
        drawn: (n, numbers), from `draw`.
        heights, widths: (n,), of the images in px.

    Returns:
        (n, 4), top, left, height and width in px.
    """
    if not augmentation.rrc.enabled:
        return np.stack([0 * heights, 0 * widths, heights, widths], axis=1)
    low, high = augmentation.rrc.crop_min_scale, augmentation.rrc.crop_max_scale
    areas = (heights * widths)[:, None] * (low + (high - low) * drawn[:, _AREA])
    start, end = map(math.log, _RATIOS)
    ratios = np.exp(start + (end - start) * drawn[:, _RATIO])
    tried = np.rint(np.stack([np.sqrt(areas / ratios), np.sqrt(areas * ratios)]))
    limits = np.stack([heights, widths])
    fits = ((tried > 0) & (tried <= limits[..., None])).all(axis=0)
    sizes = np.take_along_axis(tried, fits.argmax(axis=1)[None, :, None], axis=2)[..., 0]
    sizes = np.where(fits.any(axis=1), sizes, _central(heights, widths))
    random = np.floor(drawn[:, _CORNER].T * (limits - sizes + 1))
    corners = np.where(fits.any(axis=1), random, (limits - sizes) // 2)
    return np.concatenate([corners, sizes]).T.astype(np.int64)


def _central(heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """(2, n), height and width of the part where no attempt fits."""
    return np.stack(
        [
            np.minimum(heights, np.rint(widths / _RATIOS[0])),
            np.minimum(widths, np.rint(heights * _RATIOS[1])),
        ]
    )


def steps(augmentation: Augmentation, drawn: np.ndarray) -> list[Step]:
    """The operations on resized crops, in their order; those that change no crop are left out.

    Args:
        augmentation: an entry of a recipe's `augmentations`.
        drawn: (n, numbers), from `draw`.
    """
    found = [*_jitter(augmentation.color_jitter, drawn)]
    sigmas = _SIGMAS[0] + (_SIGMAS[1] - _SIGMAS[0]) * drawn[:, _SIGMA]
    for (name, operation), chance in zip(_FIXED.items(), drawn[:, _CHANCES].T, strict=True):
        setting = getattr(augmentation, name)
        rows = np.flatnonzero(chance < (setting.prob if setting else 0))
        found.append(Step(operation, rows, sigmas[rows]))
    return [step for step in found if len(step.rows)]


def _jitter(jitter: ColorJitter, drawn: np.ndarray) -> list[Step]:
    """torchvision's ColorJitter: its four operations in an order of each image's own."""
    factors = drawn[:, _FACTORS].copy()
    for number, name in enumerate(_JITTER):
        strength = getattr(jitter, name)
        low, high = (-strength, strength) if name == "hue" else (max(0, 1 - strength), 1 + strength)
        factors[:, number] = low + (high - low) * factors[:, number]
    order = drawn[:, _ORDER].argsort(axis=1)
    order[drawn[:, _JITTERED] >= jitter.prob] = -1
    found = []
    for place in range(len(_JITTER)):
        for number, (name, operation) in enumerate(_JITTER.items()):
            if getattr(jitter, name) > 0:
                rows = np.flatnonzero(order[:, place] == number)
                found.append(Step(operation, rows, factors[rows, number]))
    return found
