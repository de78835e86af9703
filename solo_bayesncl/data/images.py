"""The one way in which image files become pixels, and a trained model's transform of them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from omegaconf import DictConfig, OmegaConf
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from solo_bayesncl.data.transforms import SIZES, evaluation_transform, statistics
from solo_bayesncl.errors import InputError

# What files named .jpg, .png, .ppm, .bmp, .pgm, .tif or .webp contain, whatever their suffix; the
# most frequent first. Formats for which Pillow starts other programs (EPS) are not among them.
_FORMATS = (
    "JPEG", "PNG", "WEBP", "PPM", "BMP", "DIB", "TIFF", "GIF", "AVIF", "JPEG2000", "ICO",
)  # fmt: skip
# transposition that turns an image upright, by its EXIF orientation
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImageError(InputError):
    """An image that cannot be read.

    Attributes:
        name: path of the file.
        reason: why it cannot be read, without a full stop.
    """

    def __init__(self, name: str, reason: str):
        super().__init__(name, reason)  # its arguments, so that loader processes can send it
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name} cannot be read as an image: {self.reason}."


class ImageTransform:
    """A run's evaluation transform, for images of any size and mode, read as `read_image` does.

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
        image = to_rgb(image)
        transform = self.own if image.size == (self.size, self.size) else self.other
        return transform(image)

    def __repr__(self) -> str:
        return f"ImageTransform({self.other})"


def read_image(file: str | Path | BinaryIO) -> Image.Image:
    """An image in 8-bit RGB, as `to_rgb` makes it; the first one of a file that holds several.

    Args:
        file: its path, or its content with the attribute `name`.

    Raises:
        UnreadableImageError: if it cannot be read, or exceeds the limit of `pixel_limit`.
    """
    with open_image(file) as image:
        return to_rgb(image)


@contextmanager
def open_image(file: str | Path | BinaryIO) -> Iterator[Image.Image]:
    """An image of which Pillow has read the header but not the pixels.

    Whatever is raised while it is open is its fault. Arguments and errors are those of
    `read_image`.
    """
    try:
        if isinstance(file, str | Path):
            _require_regular(Path(file))
        with Image.open(file, formats=_formats()) as image:
            _check_pixels(image)
            yield image
    except Exception as error:  # on damaged files Pillow raises nearly anything
        raise UnreadableImageError(_name(file), _reason(error)) from error


def _require_regular(path: Path) -> None:
    """Raises `OSError` for folders, and for pipes, which would be waited for."""
    if not path.is_file() and path.exists():
        raise OSError("it is not a regular file")


@cache
def _formats() -> tuple[str, ...]:
    """Those that the installed Pillow has."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _name(file: str | Path | BinaryIO) -> str:
    return str(file) if isinstance(file, str | Path) else file.name


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is empty, damaged, or of another format"
    if isinstance(error, Image.DecompressionBombError):
        size, _, _ = str(error).partition(",")
        return f"{size}; to allow it, set data.max_image_pixels=N (or --max-image-pixels N)"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()).rstrip(".") or type(error).__name__


_limit_lock = threading.RLock()
_max_pixels: int | None = None


@contextmanager
def pixel_limit(pixels: int | None) -> Iterator[None]:
    """While open, images of up to `pixels` can be read and cropped; None leaves the limit as it is.

    Pillow's is one for all threads: another one waits here to set its own.
    """
    global _max_pixels
    if pixels in (None, _max_pixels):
        yield
        return
    with _limit_lock:
        before = _max_pixels, Image.MAX_IMAGE_PIXELS
        # Pillow's would also warn above half of it
        _max_pixels, Image.MAX_IMAGE_PIXELS = pixels, None
        try:
            yield
        finally:
            _max_pixels, Image.MAX_IMAGE_PIXELS = before


def _check_pixels(image: Image.Image) -> None:
    pixels = image.width * image.height
    if _max_pixels is not None and pixels > _max_pixels:
        raise Image.DecompressionBombError(
            f"Image size ({pixels} pixels) exceeds limit of {_max_pixels} pixels"
        )


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode in 8-bit RGB, turned upright as its EXIF orientation says.

    16-bit integers are scaled from 0..65535. 32-bit integers and floats are scaled from their least
    and largest value, except where all are in 0..255 and kept, or floats in 0..1 and scaled from
    there.

    Raises:
        ValueError: for values that are not finite.
    """
    image.load()  # before the orientation, which can follow the pixels; Pillow itself turns a TIFF
    turn = _UPRIGHT.get(orientation(image))
    if image.mode == "RGB" and turn is None:
        return image  # most are so, and `convert` would copy them
    # of these formats, Pillow can widen 16 bits to 32
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        image = Image.fromarray(_scaled(np.asarray(image)))
    image = image.convert("RGB")
    image.info = {}  # the orientation, which is no longer true
    return image if turn is None else image.transpose(turn)


def orientation(image: Image.Image) -> int | None:
    """The EXIF orientation, normally 1 to 8; None without any or if the EXIF data are damaged."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # of all kinds, as for damaged images; the pixels can still be read
        return None


def _scaled(values: np.ndarray) -> np.ndarray:
    """32-bit integers or floats as uint8, see `to_rgb`."""
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    least, largest = float(values.min()), float(values.max())
    if values.dtype.kind == "f" and least >= 0 and largest <= 1:
        least, largest = 0.0, 1.0
    elif least >= 0 and largest <= 255:
        least, largest = 0.0, 255.0
    scaled = (values - least) * (255 / ((largest - least) or 1))
    return scaled.round().astype(np.uint8)
