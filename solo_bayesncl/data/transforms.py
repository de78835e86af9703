"""Image transforms of the labelled splits: online validation, linear probe and evaluation.

They are solo-learn main's, with its fixed 224 px for custom data and ImageNet replaced by the size
of the recipe's crops (224 gives exactly main's), and with the mean and standard deviation that
pretraining used.
"""

import copy

from omegaconf import DictConfig, open_dict
from torch.utils.data import Dataset
from torchvision import transforms as T

from solo_bayesncl.adapters.datasets import SIZES, statistics


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
