"""100 characters in the 16 text fonts that ship with matplotlib: many classes from no download.

The validation split uses fonts that the training split never shows. Every family (DejaVu Sans, Sans
Mono, Serif, STIX) and every style (regular, bold, italic, both) is trained on; the five held-out
fonts are combinations of the two that are not. In STIX italic and DejaVu Serif italic many
characters have forms of their own, so undoing a slant is not enough.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from solo_bayesncl.data.folder import Sample, Summary, write_folder
from solo_bayesncl.data.settings import DrawnSettings
from solo_bayesncl.data.textures import Backgrounds
from solo_bayesncl.errors import InputError

# In the order of their code points. Left out: characters that some font draws (nearly) as one that
# is here (I and l as 1, 0 and Theta as O, Lambda as A, Ze as 3, gamma as Y), and those that differ
# from one here only in size (c C, k K, x X).
CHARACTERS = (
    "!#$%&(*+/123456789<=>?@"
    "ABCDEFGHJKLMNOPQRSTUVWXYZ"
    "adeghmnrty~"
    "£§©«¶»ÆßæðøΔΞΣΦΨΩαθλμξπω"
    "ЂЉБДЖЙЛЦЧШЪЫЭЮЯ‡€"
)


@dataclass(frozen=True)
class Font:
    """A font of matplotlib's; `name` is its file's, without ending."""

    name: str
    family: str
    weight: str
    slant: str


TRAIN_FONTS = (
    Font("DejaVuSans", "DejaVu Sans", "regular", "upright"),
    Font("DejaVuSans-Bold", "DejaVu Sans", "bold", "upright"),
    Font("DejaVuSans-Oblique", "DejaVu Sans", "regular", "italic"),
    Font("DejaVuSansMono", "DejaVu Sans Mono", "regular", "upright"),
    Font("DejaVuSansMono-Bold", "DejaVu Sans Mono", "bold", "upright"),
    Font("DejaVuSansMono-BoldOblique", "DejaVu Sans Mono", "bold", "italic"),
    Font("DejaVuSerif", "DejaVu Serif", "regular", "upright"),
    Font("DejaVuSerif-BoldItalic", "DejaVu Serif", "bold", "italic"),
    Font("STIXGeneral", "STIXGeneral", "regular", "upright"),
    Font("STIXGeneralBol", "STIXGeneral", "bold", "upright"),
    Font("STIXGeneralBolIta", "STIXGeneral", "bold", "italic"),
)
VAL_FONTS = (
    Font("DejaVuSans-BoldOblique", "DejaVu Sans", "bold", "italic"),
    Font("DejaVuSansMono-Oblique", "DejaVu Sans Mono", "regular", "italic"),
    Font("DejaVuSerif-Bold", "DejaVu Serif", "bold", "upright"),
    Font("DejaVuSerif-Italic", "DejaVu Serif", "regular", "italic"),
    Font("STIXGeneralItalic", "STIXGeneral", "regular", "italic"),
)

OVERSAMPLING = 4  # figures are drawn this much larger and averaged down, for smooth edges


def make_glyphs(
    out: str | Path,
    *,
    textures: bool = False,
    train_size: int = 4000,
    val_size: int = 2000,
    size: int = 32,
    seed: int = 0,
) -> Summary:
    """Writes the glyphs as an image folder; layout in `solo_bayesncl.data.folder`.

    The other columns of `metadata.csv`: `character`; `font`, `family`, `weight`, `slant`;
    `background`; `offset_x`, `offset_y`: centre of the glyph from the centre of the image, right
    and down, as fractions of the image's side; `rotation`: degrees, counter-clockwise; `shear`:
    shift to the right for each unit upwards; `scale`: longer side of the distorted glyph's box as a
    fraction of the image's side.

    Args:
        out: folder to make; reused if it holds the same data set already.
        textures: draw on 4 textures that all classes share instead of on black.
        train_size: images to train on, spread evenly over 100 classes and 11 fonts.
        val_size: images to validate on, spread evenly over 100 classes and 5 other fonts.
        size: side of the images in pixels.
        seed: decides distortions and textures.

    Raises:
        InputError: an option is out of range, `out` cannot be used, or matplotlib lacks a font.
    """
    settings = DrawnSettings(
        dataset="glyphs",
        classes=len(CHARACTERS),
        available=1_000_000,  # any number can be drawn; the limit catches typing errors
        textures=textures,
        train_size=train_size,
        val_size=val_size,
        size=size,
        seed=seed,
    )
    return write_folder(out, settings, _samples(settings))


def class_name(label: int) -> str:
    """Folder of a class, such as 023_capital_a: sorts by label, a safe file name everywhere."""
    name = unicodedata.name(CHARACTERS[label]).replace("LATIN ", "").replace("LETTER ", "")
    return f"{label:03d}_{re.sub('[^a-z]+', '_', name.lower())}"


def load_fonts(pixels: int) -> dict[str, ImageFont.FreeTypeFont]:
    """All fonts by name, with an em square of `pixels`.

    Raises:
        InputError: the installed matplotlib lacks a font, or a font lacks one of `CHARACTERS`.
    """
    # Slow to import, and not needed when the data set is reused.
    import matplotlib
    from matplotlib.ft2font import FT2Font

    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    needed = {ord(character) for character in CHARACTERS}
    fonts = {}
    for font in TRAIN_FONTS + VAL_FONTS:
        path = folder / f"{font.name}.ttf"
        if not path.is_file() or not needed <= FT2Font(str(path)).get_charmap().keys():
            raise InputError(
                f"matplotlib {matplotlib.__version__} has no font {font.name} with all characters "
                f"in {folder}. Install matplotlib from PyPI, which contains it."
            )
        fonts[font.name] = ImageFont.truetype(
            str(path), pixels, layout_engine=ImageFont.Layout.BASIC
        )
    return fonts


def _samples(settings: DrawnSettings) -> Iterator[Sample]:
    fonts = load_fonts(OVERSAMPLING * settings.size)
    backgrounds = Backgrounds(settings.size, settings.seed, settings.textures)
    splits = (("train", TRAIN_FONTS, settings.train_size), ("val", VAL_FONTS, settings.val_size))
    for part, (split, of_split, images) in enumerate(splits):
        for label, character in enumerate(CHARACTERS):
            glyphs = [_render(character, fonts[font.name]) for font in of_split]
            for index in range(len(range(label, images, len(CHARACTERS)))):
                # Taking turns gives every class every font and every texture equally often; their
                # numbers have no common divisor, so every pair too.
                font = (label + index) % len(of_split)
                background = backgrounds.names[(label + index) % len(backgrounds.names)]
                rng = np.random.default_rng([settings.seed, part, label, index])
                image = backgrounds.crop(background, rng)
                factors = _draw(glyphs[font], image, rng)
                factors = {
                    "character": character,
                    "font": of_split[font].name,
                    "family": of_split[font].family,
                    "weight": of_split[font].weight,
                    "slant": of_split[font].slant,
                    "background": background,
                    **factors,
                }
                yield Sample(split, class_name(label), f"{index:05d}", image, factors)


def _render(character: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """The character in white on black, cropped to its ink."""
    left, top, right, bottom = font.getbbox(character)
    image = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(image).text((-left, -top), character, fill=255, font=font)
    return image.crop(image.getbbox())


def _draw(glyph: Image.Image, image: Image.Image, rng: np.random.Generator) -> dict[str, str]:
    """Draws `glyph` in white on `image`, distorted at random but whole; returns how."""
    rotation, shear = rng.uniform(-15, 15), rng.uniform(-0.15, 0.15)
    scale = rng.uniform(0.6, 0.9)
    cos, sin = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
    # y points down, so the signs of rotation and shear are the reverse of a textbook's.
    matrix = np.array([[cos, sin], [-sin, cos]]) @ np.array([[1, -shear], [0, 1]])
    extent = np.abs(matrix) @ glyph.size  # of the box around the distorted glyph
    room = (1 - scale * extent / extent.max()) / 2
    offset = rng.uniform(-1, 1, size=2) * np.minimum(room, 0.15)

    canvas = OVERSAMPLING * image.width
    matrix *= scale * canvas / extent.max()
    inverse = np.linalg.inv(matrix)  # PIL maps pixels of the canvas to the glyph
    shift = np.array(glyph.size) / 2 - inverse @ ((0.5 + offset) * canvas)
    opacity = glyph.transform(
        (canvas, canvas),
        Image.Transform.AFFINE,
        (*inverse[0], shift[0], *inverse[1], shift[1]),
        Image.Resampling.BILINEAR,
    )
    image.paste("white", (0, 0), opacity.reduce(OVERSAMPLING))
    return {
        "offset_x": f"{offset[0]:.4f}",
        "offset_y": f"{offset[1]:.4f}",
        "rotation": f"{rotation:.2f}",
        "shear": f"{shear:.4f}",
        "scale": f"{scale:.4f}",
    }
