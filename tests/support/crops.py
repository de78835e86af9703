"""Images and settings for tests of crops."""

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torchvision.transforms import functional as F

from solo_bayesncl import adapters

OLD_RELEASE = adapters.find()[1].endswith("v1_0_2")
CPU = torch.device("cpu")
WHOLE = {"enabled": True, "crop_min_scale": 1.0, "crop_max_scale": 1.0}
OFF = {"prob": 0.0}
JITTER = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "prob": 0.8}
FULL = {
    "rrc": {"enabled": True, "crop_min_scale": 0.08, "crop_max_scale": 1.0},
    "color_jitter": JITTER | {"brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2},
    "grayscale": {"prob": 0.2},
    "gaussian_blur": {"prob": 0.5},
    "solarization": {"prob": 0.2},
    "horizontal_flip": {"prob": 0.5},
}  # fmt: skip


def settings(*entries: dict) -> DictConfig:
    """Of a recipe with these `augmentations`; whole images and nothing else by default."""
    default = {
        "crop_size": 32,
        "num_crops": 1,
        "rrc": WHOLE,
        "color_jitter": {**JITTER, "prob": 0.0},
        **dict.fromkeys(("grayscale", "gaussian_blur", "solarization"), OFF),
        "equalization": OFF,
        "horizontal_flip": OFF,
    }
    entries = [default | entry for entry in entries]
    return OmegaConf.create({"data": {"dataset": "cifar10"}, "augmentations": entries})


def smooth_images(count: int, height: int = 32, width: int = 32) -> list[Image.Image]:
    """Colourful images with the contrast of photos."""
    rng = np.random.default_rng(count)
    small = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return [Image.fromarray(pixels).resize((width, height), Image.BICUBIC) for pixels in small]


def as_batch(images: list[Image.Image]) -> torch.Tensor:
    return torch.stack([F.pil_to_tensor(image) for image in images])
