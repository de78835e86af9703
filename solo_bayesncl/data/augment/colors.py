"""Pillow's operations on colours for a batch, each image with a factor of its own.

Images are (n, 3, H, W) in uint8, factors (n,) in float32. Values are cut to whole numbers as in
Pillow, so that results are equal to its own.
"""

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import equalize as equalize  # equal to Pillow's, too


def adjust_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Each image blended with black; factor 1 keeps it."""
    return _cut(images.float().mul_(_by_image(factors)))


def adjust_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Each image blended with its mean luminance; factor 1 keeps it."""
    images = images.float()
    mean = _luminance(images).mean((1, 2, 3), keepdim=True).add_(0.5).floor_()
    return _blend(mean, images, factors)


def adjust_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Each image blended with its luminance; factor 1 keeps it."""
    images = images.float()
    return _blend(_luminance(images), images, factors)


def grayscale(images: Tensor) -> Tensor:
    """The luminance, in three equal channels."""
    return _luminance(images.float()).to(torch.uint8).expand_as(images)


def adjust_hue(images: Tensor, factors: Tensor) -> Tensor:
    """Each image with its hue turned by a factor in -0.5..0.5, in whole 1/255 of a turn."""
    images = images.float()
    red, green, blue = images.unbind(1)
    value = torch.maximum(red, green).maximum(blue)
    chroma = torch.minimum(red, green).minimum(blue).neg_().add_(value)
    # selected by arithmetic, as `torch.where` is 30 times as slow on a CPU
    not_red, not_green = (value - red).clamp_(max=1), (value - green).clamp_(max=1)
    hue = torch.lerp(blue - red + 2 * chroma, red - green + 4 * chroma, not_green)
    hue = torch.lerp(green - blue, hue, not_red)
    hue.div_(chroma.clamp(min=1).mul_(6))  # 0 for grey pixels, which have no chroma
    hue.sub_(hue.floor()).mul_(255).floor_()
    saturation = chroma.mul_(255).div_(value.clamp(min=1)).floor_()
    # Pillow's hue wraps at 256, though 255 is a whole turn
    hue.add_((factors * 255).trunc_()[:, None, None])
    hue.sub_((hue / 256).floor_(), alpha=256).mul_(6 / 255)
    # how far each channel is below the value, as a share of -1..0 of the chroma
    torch.sub(hue, 3, out=red).abs_().sub_(2)
    torch.sub(hue, 2, out=green).abs_().neg_().add_(1)
    torch.sub(hue, 4, out=blue).abs_().neg_().add_(1)
    chroma = saturation.mul_(value).div_(255)
    images.clamp_(-1, 0).mul_(chroma[:, None]).add_(value.add_(0.5)[:, None])
    return images.to(torch.uint8)


def solarize(images: Tensor) -> Tensor:
    """Values from 128 on inverted."""
    return torch.minimum(images, ~images)


def _luminance(images: Tensor) -> Tensor:
    """(n, 1, H, W) of Pillow's mode L; the sums are below 2**24, where float32 is exact."""
    red, green, blue = images.split(1, dim=1)
    total = (red * 19595).add_(green, alpha=38470).add_(blue, alpha=7471)
    return total.add_(2**15).mul_(2**-16).floor_()


def _blend(base: Tensor, images: Tensor, factors: Tensor) -> Tensor:
    return _cut((images - base).mul_(_by_image(factors)).add_(base))


def _cut(values: Tensor) -> Tensor:
    return values.clamp_(0, 255).to(torch.uint8)


def _by_image(factors: Tensor) -> Tensor:
    return factors[:, None, None, None]
