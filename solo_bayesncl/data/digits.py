"""The handwritten digits that ship with scikit-learn: 1797 images of 8 x 8 pixels, 10 classes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from solo_bayesncl.data.folder import Sample, Summary, write_folder
from solo_bayesncl.data.settings import DrawnSettings
from solo_bayesncl.data.textures import Backgrounds

AVAILABLE = 1797


def make_digits(
    out: str | Path,
    *,
    textures: bool = False,
    train_size: int = 1297,
    val_size: int = 500,
    size: int = 32,
    seed: int = 0,
) -> Summary:
    """Writes the digits as an image folder; layout in `solo_bayesncl.data.folder`.

    A file is named after the index of its digit in `sklearn.datasets.load_digits`. The other
    columns of `metadata.csv`: `source_index`; `background`; `offset_x`, `offset_y`: centre of the
    digit from the centre of the image, right and down, as fractions of the image's side; `scale`:
    side of the digit as a fraction of the image's.

    Args:
        out: folder to make; reused if it holds the same data set already.
        textures: white digits, 0.75 to 1 of the image wide, anywhere on one of 4 textures that all
            classes share. Otherwise the digit fills a black image.
        train_size: images to train on.
        val_size: images to validate on; no digit is in both splits.
        size: side of the images in pixels.
        seed: decides the split (stratified by class), textures and positions.

    Raises:
        InputError: an option is out of range, or `out` cannot be used.
    """
    settings = DrawnSettings(
        dataset="digits",
        classes=10,
        available=AVAILABLE,
        textures=textures,
        train_size=train_size,
        val_size=val_size,
        size=size,
        seed=seed,
    )
    return write_folder(out, settings, _samples(settings))


def _samples(settings: DrawnSettings) -> Iterator[Sample]:
    # slow to import, and not needed when the data set is reused
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    train, val = train_test_split(
        np.arange(AVAILABLE),
        train_size=settings.train_size,
        test_size=settings.val_size,
        stratify=digits.target,
        random_state=settings.seed,
    )
    backgrounds = Backgrounds(settings.size, settings.seed, settings.textures)
    for split, indexes in (("train", train), ("val", val)):
        for label in range(10):
            of_class = sorted(indexes[digits.target[indexes] == label].tolist())
            for position, index in enumerate(of_class):
                # Taking turns gives every class every texture equally often.
                background = backgrounds.names[(label + position) % len(backgrounds.names)]
                rng = np.random.default_rng([settings.seed, index])
                image = backgrounds.crop(background, rng)
                factors = _draw(digits.images[index], image, settings, rng)
                factors = {"source_index": index, "background": background, **factors}
                yield Sample(split, str(label), f"{index:04d}", image, factors)


def _draw(
    digit: np.ndarray, image: Image.Image, settings: DrawnSettings, rng: np.random.Generator
) -> dict[str, str]:
    """Draws `digit` (8, 8), values 0 to 16, in white on `image`; returns its position."""
    size = settings.size
    side = int(rng.integers(round(0.75 * size), size, endpoint=True)) if settings.textures else size
    left, top = rng.integers(0, size - side, size=2, endpoint=True).tolist()
    opacity = Image.fromarray((digit * (255 / 16)).astype(np.uint8))
    opacity = opacity.resize((side, side), Image.Resampling.BICUBIC)
    image.paste("white", (left, top), opacity)
    return {
        "offset_x": f"{(left + side / 2) / size - 0.5:.4f}",
        "offset_y": f"{(top + side / 2) / size - 0.5:.4f}",
        "scale": f"{side / size:.4f}",
    }
