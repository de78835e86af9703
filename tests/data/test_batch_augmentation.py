"""Crops of batches: each operation equals Pillow's."""

import numpy as np
import pytest
import torch
from crops import CPU, FULL, as_batch, settings, smooth_images
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms import functional as F

from solo_bayesncl import adapters
from solo_bayesncl.adapters import adapter
from solo_bayesncl.data.augment import colors, resampling
from solo_bayesncl.data.augment.batch import BatchAugmentation, cut, entries_of
from solo_bayesncl.data.augment.philox import philox4x32, uniforms


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # of the Random123 distribution's kat_vectors
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([2**32 - 1] * 4, [2**32 - 1] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_known_words(counter, key, expected):
    counters = np.array([counter, counter], np.uint32)
    assert philox4x32(counters, np.array(key, np.uint32)).tolist() == [expected, expected]


def test_numbers_depend_on_seed_stream_and_substream_alone():
    first = uniforms(5, np.array([3, 2**40, 7]), 1, 10)
    assert np.array_equal(uniforms(5, np.array([7, 3]), 1, 10), first[[2, 0]])
    others = [
        first,
        uniforms(6, np.array([3, 2**40, 7]), 1, 10),
        uniforms(5 + 2**32, np.array([3, 2**40, 7]), 1, 10),
        uniforms(5, np.array([3, 2**40, 7]), 2, 10),
    ]
    assert len(np.unique(others)) == 4 * 30


VALUES = np.random.default_rng(0)
FACTORS = VALUES.uniform(0.0, 1.9, 40).astype(np.float32)
TURNS = VALUES.uniform(-0.5, 0.5, 40).astype(np.float32)
SIGMAS = VALUES.uniform(0.1, 2.0, 40).astype(np.float32)
# operation, Pillow's, values, largest difference in levels, largest share of values that differ
OPERATIONS = {
    "brightness": (colors.adjust_brightness, F.adjust_brightness, FACTORS, 0, 0),
    "contrast": (colors.adjust_contrast, F.adjust_contrast, FACTORS, 0, 0),
    "saturation": (colors.adjust_saturation, F.adjust_saturation, FACTORS, 0, 0),
    "hue": (colors.adjust_hue, F.adjust_hue, TURNS, 6, 0.002),
    "blur": (
        resampling.gaussian_blur,
        lambda image, sigma: image.filter(ImageFilter.GaussianBlur(sigma)),
        SIGMAS,
        1,
        0.001,
    ),
    "grayscale": (
        lambda images, _: colors.grayscale(images),
        lambda image, _: F.to_grayscale(image, 3),
        FACTORS,
        0,
        0,
    ),
    "solarize": (
        lambda images, _: colors.solarize(images),
        lambda image, _: ImageOps.solarize(image),
        FACTORS,
        0,
        0,
    ),
    "equalize": (
        lambda images, _: colors.equalize(images),
        lambda image, _: ImageOps.equalize(image),
        FACTORS,
        0,
        0,
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("kind", ["smooth", "noise", "grey", "tall"])
def test_operation_is_pillows(name, kind):
    ours, theirs, values, levels, share = OPERATIONS[name]
    images = smooth_images(len(values), 24 if kind == "tall" else 32, 20 if kind == "tall" else 32)
    if kind == "noise":
        noise = np.random.default_rng(1).integers(0, 256, (len(values), 32, 32, 3), dtype=np.uint8)
        images = [Image.fromarray(pixels) for pixels in noise]
    if kind == "grey":
        images = [F.to_grayscale(image, 3) for image in images]
    expected = as_batch([theirs(i, v) for i, v in zip(images, values.tolist(), strict=True)])
    found = ours(as_batch(images), torch.from_numpy(values))
    assert found.dtype == torch.uint8
    difference = (found.int() - expected.int()).abs()
    assert difference.max() <= levels
    assert (difference > 0).float().mean() <= share
    assert difference.float().mean() <= 0.01


@pytest.mark.parametrize(("height", "width"), [(32, 32), (96, 96), (40, 28)])
@pytest.mark.parametrize("size", [32, 17, 48])
def test_crop_is_torchvisions_of_a_pillow_image(height, width, size):
    rng = np.random.default_rng(size)
    images = smooth_images(30, height, width)
    boxes = []
    for _ in images:
        part = rng.integers(2, (height + 1, width + 1))
        boxes.append([*rng.integers(0, (height, width) - part + 1), *part])
    expected = [
        F.resized_crop(image, *map(int, box), [size, size], F.InterpolationMode.BICUBIC)
        for image, box in zip(images, boxes, strict=True)
    ]
    found = resampling.resized_crops(as_batch(images), torch.tensor(np.array(boxes)), size)
    difference = (found.int() - as_batch(expected).int()).abs()
    # Pillow takes the directions of some crops in the other order, which rounds differently
    assert difference.max() <= 3
    assert difference.float().mean() < 0.1


def test_whole_image_of_the_crops_size_is_kept():
    images = as_batch(smooth_images(3))
    boxes = torch.tensor([[0, 0, 32, 32]] * 3)
    assert torch.equal(resampling.resized_crops(images, boxes, 32), images)


def test_values_are_those_of_solo_learn_where_nothing_is_random():
    cfg = settings({"num_crops": 2})
    images = smooth_images(4)
    transform = adapter().pretrain_transform(cfg)
    expected = [torch.stack(view) for view in zip(*map(transform, images), strict=True)]
    pixels = as_batch(images).permute(0, 2, 3, 1)
    for found in (
        BatchAugmentation(cfg, CPU).of_images(pixels, np.arange(4), 0),
        BatchAugmentation(cfg, CPU).of_crops(
            cut(entries_of(cfg), images, np.arange(4), 0), np.arange(4), 0
        ),
    ):
        assert len(found) == 2
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_every_view_has_the_augmentations_of_its_entry():
    """Asymmetric views and small crops, in solo-learn's order."""
    views = [
        {"num_crops": 1, "gaussian_blur": {"prob": 1.0}},
        {"num_crops": 1, "solarization": {"prob": 1.0}},
        {"num_crops": 3, "crop_size": 12, "grayscale": {"prob": 1.0}},
    ]
    cfg = settings(*views)
    pixels = as_batch(smooth_images(5)).permute(0, 2, 3, 1)
    crops = BatchAugmentation(cfg, CPU).of_images(pixels, np.arange(5), 0)
    assert [tuple(crop.shape) for crop in crops] == [(5, 3, 32, 32)] * 2 + [(5, 3, 12, 12)] * 3
    mean, std = (
        torch.tensor(x)[:, None, None] for x in adapters.datasets.NAMED["cifar10"].statistics
    )
    levels = [((crop * std + mean) * 255).round() for crop in crops]
    planes = pixels.permute(0, 3, 1, 2)
    assert levels[0].diff(dim=-1).abs().sum() < planes.int().diff(dim=-1).abs().sum()
    assert torch.equal(levels[1].to(torch.uint8), colors.solarize(planes))
    assert all(torch.equal(level[:, 0], level[:, 2]) for level in levels[2:])


def test_crops_of_an_image_do_not_depend_on_the_batch():
    cfg = settings(FULL | {"num_crops": 2})
    pixels = as_batch(smooth_images(9)).permute(0, 2, 3, 1)
    augment = BatchAugmentation(cfg, CPU)
    whole = augment.of_images(pixels, np.arange(9), 5)
    some = torch.tensor([7, 2])
    for crop, part in zip(whole, augment.of_images(pixels[some], some.numpy(), 5), strict=True):
        assert torch.equal(crop[some], part)
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(whole[0], augment.of_images(pixels, np.arange(9), 6)[0])


def test_photos_are_cut_where_the_device_would_crop_them():
    cfg = settings({"rrc": FULL["rrc"], "num_crops": 2, "crop_size": 24})
    images = smooth_images(20, 60, 60)
    pixels = as_batch(images).permute(0, 2, 3, 1)
    augment = BatchAugmentation(cfg, CPU)
    by_device = augment.of_images(pixels, np.arange(20), 5)
    by_pillow = augment.of_crops(cut(entries_of(cfg), images, np.arange(20), 5), np.arange(20), 5)
    for first, second in zip(by_device, by_pillow, strict=True):
        assert (first - second).abs().mean() < 0.002
        assert (first - second).abs().max() < 3 / 255 / 0.24


def test_operations_on_few_images_at_once_are_those_on_all(monkeypatch):
    cfg = settings(FULL | {"num_crops": 2})
    pixels = as_batch(smooth_images(9)).permute(0, 2, 3, 1)
    whole = BatchAugmentation(cfg, CPU).of_images(pixels, np.arange(9), 5)
    monkeypatch.setattr("solo_bayesncl.data.augment.batch._CACHED", 1)
    parts = BatchAugmentation(cfg, CPU).of_images(pixels, np.arange(9), 5)
    assert all(torch.equal(*pair) for pair in zip(whole, parts, strict=True))


def test_crops_need_no_multiple_of_eight_bytes():
    pixels = as_batch(smooth_images(9)).permute(0, 2, 3, 1)
    flips = ({"prob": 1.0}, {"prob": 0.0})
    (flipped,), (kept,) = (
        BatchAugmentation(settings({"crop_size": 7, "horizontal_flip": flip}), CPU).of_images(
            pixels, np.arange(9), 0
        )
        for flip in flips
    )
    assert torch.equal(flipped.flip(-1), kept)
