"""Crops of batches have the distribution of solo-learn's transforms."""

import random

import numpy as np
import pytest
import torch
from crops import CPU, FULL, JITTER, OLD_RELEASE, settings, smooth_images
from omegaconf import DictConfig
from scipy.stats import ks_2samp
from torchvision import transforms as T

from solo_bayesncl.adapters import adapter
from solo_bayesncl.data.augment import parameters
from solo_bayesncl.data.augment.batch import BatchAugmentation, entries_of


@pytest.mark.parametrize(("height", "width"), [(32, 32), (375, 500), (100, 10), (10, 100)])
@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.05, 0.14), (0.9, 1.0)])
def test_boxes_are_distributed_as_torchvisions(height, width, scale):
    """Among them shapes for which some, or all, of its ten attempts fail."""
    torch.manual_seed(0)
    count, image = 1500, torch.empty(3, height, width)
    expected = np.array(
        [T.RandomResizedCrop.get_params(image, scale, (3 / 4, 4 / 3)) for _ in range(count)]
    )
    rrc = {"enabled": True, "crop_min_scale": scale[0], "crop_max_scale": scale[1]}
    (entry,) = entries_of(settings({"rrc": rrc}))
    drawn = parameters.draw(0, np.arange(count), 0)
    sides = np.full(count, height), np.full(count, width)
    found = parameters.crop_boxes(entry, drawn, *sides)
    tops, lefts, heights, widths = found.T
    assert (found[:, :2] >= 0).all()
    assert (tops + heights <= height).all()
    assert (lefts + widths <= width).all()
    for column in range(4):
        assert ks_2samp(expected[:, column], found[:, column]).pvalue > 1e-3
    assert ks_2samp(expected[:, 2:].prod(1), found[:, 2:].prod(1)).pvalue > 1e-3


def jitter_orders(count: int) -> list[tuple[str, ...]]:
    strengths = {"brightness": 0.1, "contrast": 0.1, "saturation": 0.1, "hue": 0.1, "prob": 1.0}
    (entry,) = entries_of(settings({"color_jitter": strengths}))
    orders: list[list[str]] = [[] for _ in range(count)]
    for step in parameters.steps(entry, parameters.draw(0, np.arange(count), 0)):
        for row in step.rows:
            orders[row].append(step.operation.__name__)
    return [tuple(order) for order in orders]


def test_jitter_has_each_of_its_orders_equally_often():
    orders = jitter_orders(2400)
    counts = {order: orders.count(order) for order in set(orders)}
    assert len(counts) == 24
    assert {len(set(order)) for order in counts} == {4}
    # chi-square of 23 degrees of freedom: 99.9 % are below 49.7
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 49.7


def jitter(**strengths: float) -> dict:
    return {"color_jitter": JITTER | strengths}


# what is augmented, and settings that a test of the distribution must tell from it
DISTRIBUTIONS = {
    "crop": ({"rrc": FULL["rrc"]}, {"rrc": FULL["rrc"] | {"crop_min_scale": 0.3}}),
    "small crop": ({"rrc": FULL["rrc"], "crop_size": 20}, {"crop_size": 20}),
    "brightness": (jitter(brightness=0.8), jitter(brightness=0.3)),
    "contrast": (jitter(contrast=0.8), jitter(contrast=0.3)),
    "saturation": (jitter(saturation=0.8), jitter(saturation=0.5)),
    "hue": (jitter(hue=0.2), jitter(hue=0.1)),
    "jitter": ({"color_jitter": FULL["color_jitter"]}, jitter(brightness=0.8, contrast=0.8)),
    "grayscale": ({"grayscale": {"prob": 0.2}}, {"grayscale": {"prob": 0.4}}),
    "blur": ({"gaussian_blur": {"prob": 0.5}}, {"gaussian_blur": {"prob": 0.8}}),
    "solarization": ({"solarization": {"prob": 0.2}}, {"solarization": {"prob": 0.4}}),
    "flip": ({"horizontal_flip": {"prob": 0.5}}, {"horizontal_flip": {"prob": 0.8}}),
    "all": (FULL, FULL | {"grayscale": {"prob": 0.7}}),
}
OF_MAIN = {
    "equalization": ({"equalization": {"prob": 0.3}}, {"equalization": {"prob": 0.6}}),
    "no rrc": (
        {"rrc": {"enabled": False}, "crop_size": 20},
        {"rrc": {"enabled": False}, "crop_size": 20, "horizontal_flip": {"prob": 0.3}},
    ),
}
DISTRIBUTIONS |= {} if OLD_RELEASE else OF_MAIN
COUNT = 500


def summaries(crops: torch.Tensor) -> list[np.ndarray]:
    """Numbers of each crop (n, 3, H, W) that each operation changes, rounded to join equal ones."""
    half = crops.shape[-1] // 2
    values = [
        *crops.mean((2, 3)).T,
        crops.std((1, 2, 3)),
        (crops.amax(1) - crops.amin(1)).mean((1, 2)),
        crops.diff(dim=-1).abs().mean((1, 2, 3)),
        crops.diff(dim=-2).abs().mean((1, 2, 3)),
        (crops[..., :half] - crops[..., half:]).mean((1, 2, 3)),
        (crops[:, :, :half] - crops[:, :, half:]).mean((1, 2, 3)),
        crops.flatten(1).quantile(0.9, dim=1),
    ]
    return [value.numpy().round(3) for value in values]


def p_value(first: torch.Tensor, second: torch.Tensor) -> float:
    """That two samples of crops have one distribution; corrected for the number of summaries."""
    pairs = list(zip(summaries(first), summaries(second), strict=True))
    return min(1.0, len(pairs) * min(ks_2samp(*pair).pvalue for pair in pairs))


def solo_learns_crops(cfg: DictConfig) -> torch.Tensor:
    (image,), transform = smooth_images(1), adapter().pretrain_transform(cfg)
    torch.manual_seed(0)
    random.seed(0)
    return torch.stack([crop for _ in range(COUNT) for crop in transform(image)])


def our_crops(cfg: DictConfig, seed: int = 0) -> torch.Tensor:
    pixels = torch.from_numpy(np.asarray(smooth_images(1)[0]).copy()).expand(COUNT, -1, -1, -1)
    crops = BatchAugmentation(cfg, CPU).of_images(pixels, np.arange(COUNT), seed)
    return torch.cat(crops)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_crops_are_distributed_as_solo_learns_and_a_wrong_setting_is_noticed(name):
    right, wrong = DISTRIBUTIONS[name]
    expected = solo_learns_crops(settings(right))
    assert p_value(expected, our_crops(settings(right))) > 1e-3
    assert p_value(expected, our_crops(settings(wrong))) < 1e-4


@pytest.mark.parametrize(
    ("constant", "value", "name"),
    [("_SIGMAS", (0.1, 1.0), "blur"), ("_RATIOS", (0.999, 1.001), "crop")],
)
def test_constants_are_those_of_solo_learn(monkeypatch, constant, value, name):
    expected = solo_learns_crops(settings(DISTRIBUTIONS[name][0]))
    monkeypatch.setattr(parameters, constant, value)
    found = our_crops(settings(DISTRIBUTIONS[name][0]))
    if name == "crop":  # the ratio shows in how fine the two directions are beside each other
        expected, found = expected.sort(dim=2).values, found.sort(dim=2).values
    assert p_value(expected, found) < 0.05
