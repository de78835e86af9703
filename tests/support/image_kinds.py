"""Image files of every kind that `read_image` reads, and damaged ones."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

HEIGHT, WIDTH = 24, 40
ORIENTATION = 0x112

_y, _x = np.mgrid[:HEIGHT, :WIDTH]
# smooth, so that JPEG changes little
COLOURS = np.stack([6 * _x, 10 * _y, 3 * (_x + _y)], axis=-1).astype("uint8")
GREY = (6 * _x + _y).clip(0, 255).astype("uint8")
DEEP = GREY.astype("uint16") * 256 + 7  # the same picture in 16 bits

# what an orientation does to the rows and columns of a picture, read off the EXIF standard
TURNED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


def picture(mode: str = "RGB") -> Image.Image:
    """The test picture in an 8-bit mode."""
    if mode in ("L", "1", "LA"):
        image = Image.fromarray(GREY).convert(mode)
    else:
        image = Image.fromarray(COLOURS).convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(GREY))
    return image


def lab() -> Image.Image:
    profiles = (ImageCms.createProfile(space) for space in ("sRGB", "LAB"))
    return ImageCms.profileToProfile(picture(), *profiles, outputMode="LAB")


def save_8_bit(folder: Path) -> list[Path]:
    """Files of 8 bits a channel or fewer, whose pixels are those of Pillow's `convert("RGB")`."""
    palette = picture().quantize(16)
    images = {
        "rgb.jpg": (picture(), {"quality": 95}),
        "grey.jpg": (picture("L"), {"quality": 95}),
        "progressive.jpg": (picture(), {"quality": 95, "progressive": True}),
        "444.jpg": (picture(), {"quality": 95, "subsampling": 0}),
        "cmyk.jpg": (picture("CMYK"), {"quality": 95}),  # inverted, as by Adobe
        "mpo.jpg": (picture(), {"format": "MPO", "save_all": True, "append_images": [picture()]}),
        **{f"{mode}.png": (picture(mode), {}) for mode in ("RGB", "RGBA", "L", "LA", "1")},
        "palette.png": (palette, {}),
        "transparent_palette.png": (palette, {"transparency": 0}),
        **{f"{mode}.tif": (picture(mode), {}) for mode in ("RGB", "RGBA", "L", "1", "CMYK")},
        "ycbcr.tif": (picture("YCbCr"), {}),
        "lab.tif": (lab(), {}),
        "lzw.tif": (picture(), {"compression": "tiff_lzw"}),
        "palette.tif": (palette, {}),
        "pages.tif": (picture(), {"save_all": True, "append_images": [picture("L")]}),
        "rgb.bmp": (picture(), {}),
        "palette.bmp": (palette, {}),
        "rgb.ppm": (picture(), {}),
        "grey.pgm": (picture("L"), {}),
        "lossy.webp": (picture(), {"quality": 95}),
        "rgba.webp": (picture("RGBA"), {"lossless": True}),
        "animated.webp": (picture(), {"save_all": True, "append_images": [picture("L")]}),
        "gif_inside.jpg": (picture(), {"format": "GIF"}),
        "webp_inside.jpg": (picture(), {"format": "WEBP", "lossless": True}),
        "png_inside.jpg": (picture(), {"format": "PNG"}),
        "avif_inside.jpg": (picture(), {"format": "AVIF"}),
    }  # fmt: skip
    for name, (image, options) in images.items():
        image.save(folder / name, **options)
    return [folder / name for name in images]


def save_deep(folder: Path) -> dict[Path, np.ndarray]:
    """File -> (H, W) levels from 0 to 255 that it shows: 16 and 32-bit integers, floats."""
    floats = GREY.astype("float32")
    arrays = {
        "16.png": (DEEP, GREY),
        "16.tif": (DEEP, GREY),
        "16.pgm": (DEEP, GREY),
        "dark.pgm": (DEEP % 256, np.zeros_like(GREY)),
        "0_to_255.tif": (GREY.astype("int32"), GREY),
        "32.tif": (GREY.astype("int32") * 1000 - 5000, _stretched(floats)),
        "float_0_to_1.tif": (floats / 255, GREY),
        "float_0_to_255.tif": (floats, GREY),
        "float.tif": (floats * 1000 - 5000, _stretched(floats)),
        "constant.tif": (np.full_like(floats, 1e6), np.zeros_like(GREY)),
    }
    for name, (values, _) in arrays.items():
        Image.fromarray(values).save(folder / name)
    (folder / "big_endian.tif").write_bytes(_big_endian_tiff(DEEP))
    (folder / "colour_16.png").write_bytes(_png_16(COLOURS.astype("uint16") * 256 + 7))
    shown = {name: levels for name, (_, levels) in arrays.items()}
    shown |= {"big_endian.tif": GREY, "colour_16.png": COLOURS}
    return {folder / name: levels for name, levels in shown.items()}


def _stretched(values: np.ndarray) -> np.ndarray:
    """From the least to the largest value, which become 0 and 255."""
    return ((values - values.min()) / (values.max() - values.min()) * 255).round()


def save_turned(folder: Path) -> dict[Path, int]:
    """File -> its EXIF orientation."""
    files = {}
    for orientation in TURNED:
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        for suffix, options in (
            ("jpg", {"quality": 95, "subsampling": 0}),
            ("png", {}),
            ("webp", {"lossless": True}),
            ("tif", {}),
        ):
            file = folder / f"turned_{orientation}.{suffix}"
            picture().save(file, exif=exif, **options)
            files[file] = orientation
    return files


def save_unreadable(folder: Path) -> list[Path]:
    """What a folder can hold under the name of an image and Pillow cannot read, in many ways."""
    whole = folder.parent / "whole.png"
    picture().save(whole)
    png = whole.read_bytes()
    picture().save(folder / "half.jpg", quality=95)
    jpeg = (folder / "half.jpg").read_bytes()
    tables = jpeg.index(b"\xff\xc4") + 5
    contents = {
        "half.jpg": jpeg[: len(jpeg) // 2],
        "huffman.jpg": jpeg[:tables] + b"\xff" * 16 + jpeg[tables + 16 :],  # DALI opens it
        "half.png": png[: len(png) // 2],
        "text.png": png[:33] + _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26))) + png[33:],
        "header.ppm": b"P6 4x 4 255\n" + bytes(48),
        "empty.jpg": b"",
        "text.jpg": b"not an image",
        "postscript.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
        "pixels.png": png[:8] + _chunk(b"IHDR", struct.pack(">II", 60000, 60000) + png[24:29]),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    broken = GREY.astype("float32")
    broken[3, 3] = np.nan
    Image.fromarray(broken).save(folder / "nan.tif")
    (folder / "dangling.png").symlink_to(folder / "nowhere.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    return [*(folder / name for name in contents), *(
        folder / name for name in ("nan.tif", "dangling.png", "pipe.png", "folder.png")
    )]  # fmt: skip


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + checksum


def _png_16(pixels: np.ndarray) -> bytes:
    """An RGB file of 16 bits, which Pillow cannot write."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _big_endian_tiff(pixels: np.ndarray) -> bytes:
    """A grey file of 16 bits with the most significant byte first, which Pillow cannot write."""
    height, width = pixels.shape
    content = pixels.astype(">u2").tobytes()
    short, long = 3, 4
    entries = [
        (256, short, width), (257, short, height), (258, short, 16), (259, short, 1),
        (262, short, 1), (273, long, 8), (277, short, 1), (278, short, height),
        (279, long, len(content)),
    ]  # fmt: skip
    directory = struct.pack(">H", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack(">HHI", tag, kind, 1)
        directory += struct.pack(">HH", value, 0) if kind == short else struct.pack(">I", value)
    end = struct.pack(">I", 0)
    return b"MM\0*" + struct.pack(">I", 8 + len(content)) + content + directory + end
