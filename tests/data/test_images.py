"""Reading single images: every kind in one way, and what cannot be read by its name."""

import os
import pickle
import warnings

import numpy as np
import pytest
import torch
from image_kinds import (
    COLOURS,
    GREY,
    ORIENTATION,
    TURNED,
    picture,
    save_8_bit,
    save_deep,
    save_turned,
    save_unreadable,
)
from omegaconf import OmegaConf
from PIL import Image

from solo_bayesncl.data.images import (
    ImageTransform,
    UnreadableImageError,
    pixel_limit,
    read_image,
)


def pixels(file) -> np.ndarray:
    image = read_image(file)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def test_ordinary_images_have_the_pixels_that_pillow_gives_them(tmp_path):
    for file in save_8_bit(tmp_path):
        with warnings.catch_warnings():  # of Pillow, about transparent palettes
            warnings.simplefilter("ignore")
            expected = np.asarray(Image.open(file).convert("RGB"))
        assert np.array_equal(pixels(file), expected), file.name


def test_deep_images_are_scaled_to_eight_bits(tmp_path):
    for file, shown in save_deep(tmp_path).items():
        expected = shown if shown.ndim == 3 else shown[..., None].repeat(3, axis=-1)
        assert np.array_equal(pixels(file), expected), file.name


def test_images_are_turned_upright_once(tmp_path):
    for file, orientation in save_turned(tmp_path).items():
        expected = TURNED[orientation](COLOURS)
        assert pixels(file).shape == expected.shape, file.name
        assert np.abs(pixels(file) - expected).mean() < 2, file.name


def test_a_deep_image_is_turned_too(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(GREY.astype("uint16") * 256).save(tmp_path / "16.png", exif=exif)
    assert np.array_equal(pixels(tmp_path / "16.png")[..., 0], TURNED[6](GREY))


def test_damaged_exif_data_do_not_hide_the_pixels(tmp_path):
    picture().save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    picture().save(tmp_path / "b.jpg")
    assert np.array_equal(pixels(tmp_path / "a.jpg"), pixels(tmp_path / "b.jpg"))


def test_what_cannot_be_read_is_named_with_a_reason_in_one_line(tmp_path):
    (tmp_path / "images").mkdir()
    for file in save_unreadable(tmp_path / "images"):
        with pytest.raises(UnreadableImageError) as raised:
            read_image(file)
        message = str(raised.value)
        assert message.startswith(f"{file} cannot be read as an image: "), file.name
        assert message.endswith(".")
        assert "\n" not in message
        assert "<" not in message  # no repr of an object


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission_is_named(tmp_path):
    picture().save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(UnreadableImageError, match=r"a.png .*Permission denied"):
        read_image(tmp_path / "a.png")


def test_postscript_starts_no_other_program(tmp_path, monkeypatch):
    import subprocess

    monkeypatch.setattr(subprocess, "Popen", None)
    picture().save(tmp_path / "a.eps")
    with pytest.raises(UnreadableImageError, match="of another format"):
        read_image((tmp_path / "a.eps").rename(tmp_path / "a.jpg"))


def test_error_reaches_another_process_whole():
    error = pickle.loads(pickle.dumps(UnreadableImageError("a.png", "it is empty")))
    assert str(error) == "a.png cannot be read as an image: it is empty."
    assert (error.name, error.reason) == ("a.png", "it is empty")


def test_image_above_the_limit_names_the_setting_that_allows_it(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    picture().save(tmp_path / "a.png")
    size = picture().width * picture().height
    with pytest.raises(UnreadableImageError, match=rf"\({size} pixels\).*data.max_image_pixels"):
        read_image(tmp_path / "a.png")
    with warnings.catch_warnings(), pixel_limit(size):
        warnings.simplefilter("error")
        read_image(tmp_path / "a.png").crop((0, 0, *picture().size))  # as augmentations do
    assert Image.MAX_IMAGE_PIXELS == 100


def test_limit_may_be_lower_than_pillows(tmp_path):
    picture().save(tmp_path / "a.png")
    size = picture().width * picture().height
    with pixel_limit(size):
        read_image(tmp_path / "a.png")
    with pixel_limit(size - 1), pytest.raises(UnreadableImageError, match=f"limit of {size - 1}"):
        read_image(tmp_path / "a.png")


def test_transform_reads_an_open_image_as_a_file_is_read(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    picture().save(tmp_path / "a.jpg", exif=exif)
    transform = ImageTransform(
        OmegaConf.create({"data": {"dataset": "custom"}, "augmentations": [{"crop_size": 16}]})
    )
    opened, read = Image.open(tmp_path / "a.jpg"), read_image(tmp_path / "a.jpg")
    assert torch.equal(transform(opened), transform(read))
