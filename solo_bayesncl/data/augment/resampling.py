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
        images: (n, 3, H, W), uint8.
        boxes: (n, 4), top, left, height and width of each part in px, whole numbers.
        size: of the results in px.

    Returns:
        (n, 3, size, size), uint8; those of Pillow up to a rounding.
    """
    top, left, height, width = boxes.float().unbind(1)
    return _product(
        images,
        _bicubic(top, height, images.shape[2], size),
        _bicubic(left, width, images.shape[3], size),
    )


def gaussian_blur(images: Tensor, radii: Tensor) -> Tensor:
    """Pillow's `GaussianBlur`: three box blurs, with the outermost pixels repeated.

    Args:
        images: (n, 3, H, W), uint8.
        radii: (n,), standard deviations in px.

    Returns:
        (n, 3, H, W), uint8. Pillow rounds after each box blur, which differs by at most 2 levels.
    """
    height, width = images.shape[2:]
    rows = torch.linalg.matrix_power(_box_blur(radii, height), _BOX_BLURS)
    columns = (
        rows if width == height else torch.linalg.matrix_power(_box_blur(radii, width), _BOX_BLURS)
    )
    return _product(images, rows, columns)


def _product(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Images (n, 3, height, width) by the matrices (n, height, H) and (n, width, W)."""
    across = _rounded(images.float().flatten(1, 2) @ columns.mT).unflatten(1, images.shape[1:3])
    return _rounded(rows[:, None] @ across).to(torch.uint8)


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


def _box_blur(radii: Tensor, size: int) -> Tensor:
    """Matrices (n, size, size) of one of the box blurs that Pillow takes for a Gaussian blur.

    Its box has whole pixels and a share of two more, as if it were an interval of any width.
    """
    variance = radii[:, None, None] ** 2 / _BOX_BLURS
    whole = ((12 * variance + 1).sqrt() - 1).div(2).floor()
    part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance)
    half = whole + part / (6 * (variance - (whole + 1) ** 2)) + 0.5
    places = torch.arange(size, device=radii.device)
    # share of the box that lies before the end of each pixel
    ends = ((places + 0.5 - places[:, None]) / (2 * half) + 0.5).clamp_(0, 1)
    ends[..., -1] = 1  # the last pixel stands for all beyond
    return ends.diff(dim=-1, prepend=torch.zeros_like(ends[..., :1]))
