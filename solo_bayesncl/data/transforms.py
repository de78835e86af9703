"""Image transforms of the labelled splits: online validation, linear probe and evaluation.

They are solo-learn main's, with its fixed 224 px for custom data and ImageNet replaced by the size
of the recipe's crops (224 gives exactly main's), and with the mean and standard deviation that
pretraining used.
"""

import copy

from omegaconf import DictConfig, open_dict
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch.utils.data import Dataset
from torchvision import transforms as T

STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "stl10": ((0.4914, 0.4823, 0.4466), (0.247, 0.243, 0.261)),
    "imagenet": (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),
    "imagenet100": (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),
}


# sizes of the data sets whose images all have the same one
SIZES = {"cifar10": 32, "cifar100": 32, "stl10": 96}


def statistics(dataset: str, cfg: DictConfig) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) of the normalisation: the data set's, else `mean` and `std` of `cfg`."""
    custom = (cfg.get("mean", IMAGENET_DEFAULT_MEAN), cfg.get("std", IMAGENET_DEFAULT_STD))
    mean, std = STATISTICS.get(dataset, custom)
    return tuple(mean), tuple(std)


def labelled_size(dataset: str, crop: DictConfig) -> int:
    """Size of labelled images in px: the data set's own, else `crop.crop_size`."""
    return SIZES.get(dataset, crop.crop_size)


def evaluation_transform(dataset: str, crop: DictConfig) -> T.Compose:
    """Resize and centre crop to `crop.crop_size` px, normalised; no randomness.

    Args:
        dataset: solo-learn's name of the data set.
        crop: holds `crop_size` (px) and, for custom data, optionally `mean` and `std`.
    """
    size = labelled_size(dataset, crop)
    resize = {
        "cifar10": [],
        "cifar100": [],
        "stl10": [T.Resize((size, size))],
    }.get(dataset, [T.Resize(round(size * 256 / 224)), T.CenterCrop(size)])
    return T.Compose([*resize, T.ToTensor(), T.Normalize(*statistics(dataset, crop))])


def probe_transform(dataset: str, crop: DictConfig) -> T.Compose:
    """Random resized crop and flip: what the linear probe trains on. Arguments as above."""
    return T.Compose(
        [
            T.RandomResizedCrop(labelled_size(dataset, crop), scale=(0.08, 1.0)),
            T.RandomHorizontalFlip(),
            T.ToTensor(),
            T.Normalize(*statistics(dataset, crop)),
        ]
    )


def without_transform(images: Dataset) -> Dataset:
    """A copy of a data set of solo-learn that yields (PIL image, label)."""
    images = copy.copy(images)
    images.transform = None
    return images


def as_image_folder(cfg: DictConfig) -> DictConfig:
    """A copy of a run's settings for images of any size in folders, normalised as in training."""
    cfg = cfg.copy()
    with open_dict(cfg):
        crop = cfg.augmentations[0]
        crop.mean, crop.std = map(list, statistics(cfg.data.dataset, crop))
        cfg.data.dataset, cfg.data.format, cfg.data.no_labels = "custom", "image_folder", False
        cfg.data.fraction = -1  # a share of the run's own images
    return cfg
