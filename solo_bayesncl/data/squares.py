"""Images of any size and mode as small squares, read once."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image, ImageOps

from solo_bayesncl.console import progress
from solo_bayesncl.data.images import UnreadableImageError, open_image, pixel_limit, to_rgb
from solo_bayesncl.data.unreadable import Reading, UnreadableImages

MAX_PIXELS = 2**28  # of an original, 1 GB with alpha; each thread holds one
MAX_THREADS = 4
# on which both black and white drawings can be seen
BACKGROUND = (128, 128, 128)
_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_CAN_BE_TRANSPARENT = ("P", "L", "RGB", "1")  # with a transparent colour


def read_squares(paths: Sequence[Path], side: int) -> dict[Path, Image.Image]:
    """The images that can be read, as `square` makes them; the others are logged.

    Args:
        paths: of the images.
        side: of the squares in pixels.
    """
    unreadable = UnreadableImages(Reading(skip=True))
    squares = {}
    threads = min(MAX_THREADS, os.cpu_count() or 1)
    with pixel_limit(MAX_PIXELS), ThreadPoolExecutor(threads) as pool:
        read = progress(pool.map(partial(_read, side=side), paths), "Reading images", len(paths))
        for path, result in zip(paths, read, strict=True):
            if isinstance(result, UnreadableImageError):
                unreadable.add([result])
            else:
                squares[path] = result
    unreadable.report()
    return squares


def _read(path: Path, side: int) -> Image.Image | UnreadableImageError:
    try:
        with open_image(path) as image:
            image.draft(None, (2 * side, 2 * side))  # a JPEG is decoded at a fraction of its size
            return square(image, side)
    except UnreadableImageError as error:
        # a new one, as its traceback would keep pixels; the limit is not a setting here
        return UnreadableImageError(error.name, error.reason.partition("; to allow it")[0])


def square(image: Image.Image, side: int) -> Image.Image:
    """An image as an RGB square: its centre, or, if parts are transparent, all of it on grey."""
    resampling = Image.Resampling.LANCZOS
    if (drawing := _drawing(image)) is None:
        return ImageOps.fit(to_rgb(image), (side, side), resampling)
    # premultiplied, as the colours of transparent pixels mean nothing
    drawing = ImageOps.contain(drawing.convert("RGBa"), (side, side), resampling)
    canvas = Image.new("RGBA", (side, side), (*BACKGROUND, 255))
    place = ((side - drawing.width) // 2, (side - drawing.height) // 2)
    canvas.alpha_composite(drawing.convert("RGBA"), place)
    return canvas.convert("RGB")


def _drawing(image: Image.Image) -> Image.Image | None:
    """An image with transparent parts, upright and with alpha; None for all others."""
    has_colour = "transparency" in image.info and image.mode in _CAN_BE_TRANSPARENT
    if not (has_colour or image.mode in _WITH_ALPHA):
        return None
    drawing = ImageOps.exif_transpose(image.convert("RGBA"))
    return drawing if drawing.getchannel("A").getextrema()[0] < 255 else None
