"""Pillow's resizing and blurring of a batch, each image with parameters of its own.

Both are linear in rows and columns. So each is two products with a matrix per image, on any device.
Images are uint8, and rounded where Pillow rounds: after each direction.
"""

import torch
from torch import Tensor

_BOX_BLURS = 3  # by which Pillow approximates a Gaussian blur


def resized_crops(images: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Parts of images, resized with Pillow's bicubic interpolation with antialiasing.

    Args:
        images: (n, 3, H, W), levels in 0..255.
        boxes: (n, 4), top, left, height and width of each part in px, whole numbers.
        size: of the results in px.

    Returns:
        (n, 3, size, size), uint8; Pillow's up to a rounding.
    """
    top, left, height, width = boxes.float().unbind(1)
    images = _across(images.float(), _bicubic(left, width, images.shape[3], size))
    return _down(images, _bicubic(top, height, images.shape[2], size)).to(torch.uint8)


def gaussian_blur(images: Tensor, sigmas: Tensor) -> Tensor:
    """Pillow's `GaussianBlur`: three box blurs, with the outermost pixels repeated.

    Args:
        images: (n, 3, H, W), uint8.
        sigmas: (n,), standard deviations in px.

    Returns:
        (n, 3, H, W), uint8; Pillow's up to a rounding.
    """
    height, width = images.shape[2:]
    columns = _box_blur(sigmas, width)
    rows = columns if height == width else _box_blur(sigmas, height)
    images = images.float()
    for _ in range(_BOX_BLURS):  # not at once, as rounding removes small changes
        images = _across(images, columns)
    for _ in range(_BOX_BLURS):
        images = _down(images, rows)
    return images.to(torch.uint8)


def _across(images: Tensor, weights: Tensor) -> Tensor:
    """Images (n, 3, H, W) with weights (n, width, W) of the pixels of each row."""
    rows = images.flatten(1, 2) @ weights.mT
    return _rounded(rows).unflatten(1, images.shape[1:3])


def _down(images: Tensor, weights: Tensor) -> Tensor:
    """Images (n, 3, H, W) with weights (n, height, H) of the pixels of each column."""
    return _rounded(weights[:, None] @ images)


def _rounded(values: Tensor) -> Tensor:
    return values.round_().clamp_(0, 255)


def _bicubic(start: Tensor, length: Tensor, source: int, size: int) -> Tensor:
    """Weights (n, size, source) of the pixels `start`.. of `length` in each resized pixel."""
    start, length = start[:, None, None], length[:, None, None]
    scale = length / size
    pixels = torch.arange(source, device=start.device) + 0.5
    centres = (torch.arange(size, device=start.device)[:, None] + 0.5) * scale + start
    distances = (pixels - centres).div_(scale.clamp(min=1)).abs_()
    # Keys' kernel with a = -0.5: a cubic that is 0 from 2 on, and another one up to 1
    to_two = (2 - distances).clamp_(min=0)
    to_one = (1 - distances).clamp_(min=0)
    weights = (to_two - 1).mul_(to_two).mul_(to_two).mul_(0.5)
    weights.add_((1 - 2 * to_one).mul_(to_one).mul_(to_one))
    within = ((length + 1) / 2 - (pixels - start - length / 2).abs()).clamp_(0, 1)  # 1 or 0
    weights.mul_(within)
    return weights.div_(weights.sum(-1, keepdim=True))


def _box_blur(sigmas: Tensor, size: int) -> Tensor:
    """Matrices (n, size, size) of one of the box blurs that Pillow takes for a Gaussian blur.

    Its box has whole pixels and a share of two more, as if it were an interval of any width.
    """
    variance = sigmas[:, None, None] ** 2 / _BOX_BLURS
    whole = ((12 * variance + 1).sqrt() - 1).div(2).floor()
    part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance)
    half = whole + part / (6 * (variance - (whole + 1) ** 2)) + 0.5
    places = torch.arange(size, device=sigmas.device)
    # share of the box that lies before the end of each pixel
    ends = ((places + 0.5 - places[:, None]) / (2 * half) + 0.5).clamp_(0, 1)
    ends[..., -1] = 1  # the last pixel stands for all beyond
    return ends.diff(dim=-1, prepend=torch.zeros_like(ends[..., :1]))
