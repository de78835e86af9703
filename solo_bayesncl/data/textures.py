"""Four backgrounds that all classes share: features that are on in images of every class.

Like the blue sky in the paper, they help to match two views of an image and do not depend on its
class. They are darker than the white figures drawn on them.
"""

import numpy as np
from PIL import Image

BLACK = "black"
TEXTURES = ("sky", "grass", "bricks", "sand")


class Backgrounds:
    """Backgrounds of one size: black, or random crops of large textures.

    Args:
        size: side of an image in pixels.
        seed: decides the large textures.
        textures: False gives black only.
    """

    def __init__(self, size: int, seed: int, textures: bool):
        self.size = size
        self.names = TEXTURES if textures else (BLACK,)
        self._large = {name: _large(name, size, seed) for name in self.names}

    def crop(self, name: str, rng: np.random.Generator) -> Image.Image:
        """A random RGB crop of the background `name`, `size` x `size` pixels."""
        large = self._large[name]
        left, top = rng.integers(0, large.width - self.size, size=2, endpoint=True).tolist()
        return large.crop((left, top, left + self.size, top + self.size))


def _large(name: str, size: int, seed: int) -> Image.Image:
    """The texture to crop from, 4 images wide and high. One unit is the side of an image."""
    if name == BLACK:
        return Image.new("RGB", (size, size))
    side = 4 * size
    rng = np.random.default_rng([seed, TEXTURES.index(name)])
    y, x = np.mgrid[:side, :side] / size
    if name == "sky":
        clouds = np.clip(2 * _noise(rng, side, 8, 8) - 0.6, 0, 1)
        colour = _mix((35, 85, 165), (120, 140, 165), clouds)
    elif name == "grass":
        blades = 0.6 * _noise(rng, side, 24, 72) + 0.4 * _noise(rng, side, 10, 10)
        colour = _mix((10, 50, 15), (80, 135, 45), blades)
    elif name == "bricks":
        row = np.floor(y * 5)
        mortar = ((y * 5) % 1 < 0.2) | ((x * 2.5 + 0.5 * (row % 2)) % 1 < 0.1)
        colour = _mix((125, 50, 35), (110, 105, 95), mortar)
        colour = colour * (0.8 + 0.3 * _noise(rng, side, 40, 40))[..., None]
    else:  # sand
        ripples = np.sin(2 * np.pi * (3.5 * (x + y) + 1.5 * _noise(rng, side, 8, 8)))
        colour = _mix((105, 85, 45), (155, 130, 80), (ripples + 1) / 2)
    return Image.fromarray(np.clip(colour, 0, 255).astype(np.uint8))


def _noise(rng: np.random.Generator, side: int, rows: int, columns: int) -> np.ndarray:
    """Smooth random values in [0, 1], (side, side), from a coarse random grid."""
    grid = Image.fromarray((rng.random((rows, columns)) * 255).astype(np.uint8))
    return np.asarray(grid.resize((side, side), Image.Resampling.BICUBIC)) / 255


def _mix(dark: tuple, light: tuple, weight: np.ndarray) -> np.ndarray:
    """Colours between `dark` (weight 0) and `light` (weight 1), (side, side, 3)."""
    return np.array(dark) + weight[..., None] * (np.array(light) - np.array(dark))
