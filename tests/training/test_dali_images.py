"""DALI decodes every image to the pixels that `read_image` gives, and reports what it cannot."""

import struct

import numpy as np
import pytest

pytest.importorskip("nvidia.dali")

from conftest import only_run, tiny
from dali_runs import BATCH, DALI, one_colour_images, pretrain
from image_kinds import picture, save_8_bit, save_deep, save_turned, save_unreadable
from nvidia.dali import fn, pipeline_def, types
from PIL import ExifTags, Image
from test_dali import RECIPE, dali_loader

from solo_bayesncl.__main__ import main
from solo_bayesncl.data.images import read_image
from solo_bayesncl.runs import SKIPPED_IMAGES
from solo_bayesncl.training.dali import EncodedImages


def decoded(contents: list[np.ndarray]) -> list[np.ndarray]:
    """What DALI makes of files' contents."""

    @pipeline_def(batch_size=len(contents), num_threads=1, device_id=None)
    def decode():
        encoded = fn.external_source(source=[contents], dtype=types.UINT8, ndim=1)
        return fn.decoders.image(encoded, device="cpu")

    pipeline = decode()
    pipeline.build()
    (images,) = pipeline.run()
    return [np.array(images.at(position)) for position in range(len(contents))]


@pytest.mark.filterwarnings("ignore:Palette images")
def test_dali_gives_the_pixels_of_read_image(tmp_path):
    """Also of JPEG files, which both decode by libjpeg-turbo on the CPU."""
    files = [*save_8_bit(tmp_path), *save_deep(tmp_path), *save_turned(tmp_path)]
    encoded = EncodedImages(files, decode_jpegs=True)
    contents = [encoded[index][1] for index in range(len(files))]
    for file, pixels in zip(files, decoded(contents), strict=True):
        expected = np.asarray(read_image(file)).astype(int)
        assert pixels.shape == expected.shape, file.name
        assert np.abs(pixels - expected).max() <= 1, file.name


def test_dali_decodes_plain_jpegs_itself(tmp_path):
    files = [*save_8_bit(tmp_path), *save_turned(tmp_path)]
    encoded = EncodedImages(files, decode_jpegs=True)
    own = {
        file.name for i, file in enumerate(files) if encoded[i][1].tobytes() == file.read_bytes()
    }
    plain = {"rgb.jpg", "grey.jpg", "progressive.jpg", "444.jpg", "mpo.jpg"}
    assert own == plain | {f"turned_{orientation}.jpg" for orientation in range(1, 9)}


def test_orientation_outside_of_exif_is_followed(tmp_path):
    """Of XMP metadata, which DALI does not read."""
    xmp = b'<x:xmpmeta xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    file = tmp_path / "a.jpg"
    read_image(one_colour_images(tmp_path, 1) / "flat/00.jpg").crop((0, 0, 24, 12)).save(
        file, xmp=xmp
    )
    (pixels,) = decoded([EncodedImages([file], decode_jpegs=True)[0][1]])
    assert pixels.shape == (24, 12, 3)
    assert np.array_equal(pixels, np.asarray(read_image(file)))


def test_orientation_of_a_file_with_two_exif_blocks_is_followed(tmp_path):
    """DALI and Pillow take different ones."""
    file = tmp_path / "a.jpg"
    image = read_image(one_colour_images(tmp_path, 1) / "flat/00.jpg").crop((0, 0, 24, 12))
    blocks = []
    for orientation in (6, 1):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        image.save(file, exif=exif)
        content = file.read_bytes()
        start = content.index(b"\xff\xe1")
        (length,) = struct.unpack(">H", content[start + 2 : start + 4])
        end = start + 2 + length
        blocks.append(content[start:end])
    file.write_bytes(content[:start] + b"".join(blocks) + content[end:])
    (pixels,) = decoded([EncodedImages([file], decode_jpegs=True)[0][1]])
    assert np.array_equal(pixels, np.asarray(read_image(file)))


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_orientation_of_any_type_is_followed(tmp_path, byte_order):
    """DALI reads it as a short integer only (type 3); in some files it is a long one (4)."""
    mark = {"<": b"II*\0", ">": b"MM\0*"}[byte_order]
    for kind, value in ((3, "HH"), (4, "I")):
        entry = struct.pack(f"{byte_order}HHI", 0x112, kind, 1)
        entry += struct.pack(f"{byte_order}{value}", *([6, 0] if kind == 3 else [6]))
        header = mark + struct.pack(f"{byte_order}IH", 8, 1)
        file = tmp_path / f"{kind}.jpg"
        picture().save(file, exif=b"Exif\0\0" + header + entry + bytes(4))
        (pixels,) = decoded([EncodedImages([file], decode_jpegs=True)[0][1]])
        assert pixels.shape == (*picture().size, 3)
        assert np.array_equal(pixels, np.asarray(read_image(file)))


def damage(folder, *numbers: int, undecodable: bool = False) -> list[str]:
    """Truncates images, or damages what only a decoder looks at; returns their paths."""
    files = [file for n in numbers for file in (folder / "train").glob(f"*/{n:02}.jpg")]
    for file in files:
        content = bytearray(file.read_bytes())
        tables = content.index(b"\xff\xc4") + 5
        content[tables : tables + 16] = b"\xff" * 16
        file.write_bytes(content if undecodable else content[: len(content) // 2])
    return [str(file) for file in files]


@pytest.mark.parametrize("undecodable", [False, True])
def test_unreadable_file_is_named(tmp_path, capsys, undecodable):
    folder = one_colour_images(tmp_path, 16)
    (broken,) = damage(folder, 12, undecodable=undecodable)
    overrides = tiny(folder, tmp_path / "out", *DALI, "data.val_path=null", "wandb.enabled=False")
    assert main(["pretrain", *RECIPE, *overrides]) == 2
    assert f"{broken} cannot be read as an image: " in capsys.readouterr().err


def test_whatever_is_unreadable_is_named(tmp_path, capsys):
    folder = one_colour_images(tmp_path, 4)
    files = [file for file in save_unreadable(folder / "train/class_0") if not file.is_dir()]
    whole = f"optimizer.batch_size={4 + len(files)}"
    pretrain(folder, tmp_path / "out", "data.on_corrupt=skip", whole)
    record = (only_run(tmp_path / "out", "ncl") / SKIPPED_IMAGES).read_text()
    assert {line.split("\t")[0] for line in record.splitlines()} == {*map(str, files)}


@pytest.mark.parametrize("undecodable", [False, True])
def test_skipping_goes_on_with_the_next_image_as_the_torchvision_loader_does(
    tmp_path, capsys, undecodable
):
    folder = one_colour_images(tmp_path, 16)
    broken = damage(folder, 5, 6, 15, undecodable=undecodable)
    skip = ["data.on_corrupt=skip", "max_epochs=2", "seed=3"]
    dali, torchvision = (
        pretrain(folder, tmp_path / name, *skip, f"data.format={name}")
        for name in ("dali", "image_folder")
    )
    assert [step.indexes for step in dali] == [step.indexes for step in torchvision]
    assert len(dali) == 2 * 16 // BATCH
    for step in dali:
        assert step.images == step.indexes
        assert step.targets == [image // 8 for image in step.images]
    for name in ("dali", "image_folder"):
        run = only_run(tmp_path / name, "ncl")
        lines = (run / SKIPPED_IMAGES).read_text().splitlines()
        assert sorted(line.split("\t")[0] for line in lines) == broken
    assert f"3 images cannot be read and are left out: {tmp_path}" in capsys.readouterr().err


def test_crops_after_a_file_that_dali_cannot_decode_are_the_same_again(tmp_path):
    folder = one_colour_images(tmp_path, 16)
    damage(folder, 5, 6, undecodable=True)
    loader = dali_loader(folder, skip=True)
    first, again = ([batch[1][0] for batch in loader] for _ in range(2))
    assert all(map(np.array_equal, first, again))


def test_limit_of_pixels_holds(tmp_path, capsys):
    folder = one_colour_images(tmp_path, 16)
    overrides = tiny(folder, tmp_path / "out", *DALI, "data.val_path=null", "wandb.enabled=False")
    assert main(["pretrain", *RECIPE, *overrides, "data.max_image_pixels=575"]) == 2
    message = capsys.readouterr().err
    assert "exceeds limit of 575 pixels; to allow it, set data.max_image_pixels=N" in message


def test_all_images_unreadable_is_one_message(tmp_path, capsys):
    folder = one_colour_images(tmp_path, 16)
    damage(folder, *range(16))
    overrides = tiny(folder, tmp_path / "out", *DALI, "data.val_path=null", "wandb.enabled=False")
    assert main(["pretrain", *RECIPE, *overrides, "data.on_corrupt=skip"]) == 2
    assert "None of 16 images can be read. The first: " in capsys.readouterr().err


def test_name_that_is_not_utf_8_is_opened(tmp_path):
    """DALI itself takes text only."""
    folder = one_colour_images(tmp_path, 16)
    file = folder / "train/class_0/03.jpg"
    file.rename(file.with_name(b"03\xe9.jpg".decode(errors="surrogateescape")))
    assert sum(len(indexes) for indexes, _, _ in dali_loader(folder)) == 16
