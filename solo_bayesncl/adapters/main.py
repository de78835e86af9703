"""solo-learn main (GitHub, 1.0.3 and later, `lightning` 2.x)."""

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import lightning.pytorch as pl
import solo.methods.base
import solo.methods.linear
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from solo.args import linear as linear_args
from solo.args import pretrain as pretrain_args
from solo.data import classification_dataloader, pretrain_dataloader
from solo.methods import METHODS
from solo.methods.base import BaseMethod, BaseMomentumMethod
from solo.methods.linear import LinearModel
from solo.methods.simclr import SimCLR
from solo.utils.checkpointer import Checkpointer as SoloCheckpointer
from solo.utils.knn import WeightedKNNClassifier as KNN  # noqa: N814
from solo.utils.lars import LARS
from solo.utils.misc import make_contiguous
from torch import nn
from torch.optim import Optimizer

from solo_bayesncl.adapters.datasets import portable
from solo_bayesncl.adapters.protocol import Crops
from solo_bayesncl.adapters.shared import (
    CheckpointerMixin,
    continue_momentum,
    count_classes,
    loader_options,
    multi_crop,
    patch_metrics,
    remove_head,
    requires_dali,
    set_defaults,
    without_labels_zero,
)
from solo_bayesncl.errors import InputError

__all__ = [
    "NAME", "FORMATS", "OTHER_RELEASE", "METHODS", "BACKBONES", "pl", "BaseMethod", "SimCLR",
    "LinearModel", "Checkpointer", "KNN", "patch_solo_learn", "check", "pretrain_cfg", "linear_cfg",
    "method", "method_names", "backbone_names", "build", "backbone", "linear_model",
    "pretrain_transform", "pretrain_loader", "labelled_loaders", "dali_augmentations", "precision",
]  # fmt: skip

NAME = "solo-learn main"
FORMATS: tuple[str, ...] = ("image_folder", "dali", "h5")
OTHER_RELEASE = ""
BACKBONES = BaseMethod._BACKBONES
_H5_DATASETS = ("imagenet", "imagenet100")
_DEFAULTS = {"dali.device": "gpu", "data.fraction": -1}  # which solo-learn lacks


@cache
def patch_solo_learn() -> None:
    patch_metrics(solo.methods.base, solo.methods.linear)
    BaseMomentumMethod.on_train_start = continue_momentum
    BaseMethod._base_shared_step = without_labels_zero(BaseMethod._base_shared_step)
    BaseMomentumMethod._shared_step_momentum = without_labels_zero(
        BaseMomentumMethod._shared_step_momentum
    )
    LARS.__setstate__ = _set_state_with_defaults
    _patch_h5()


def _set_state_with_defaults(optimizer: LARS, state: dict[str, Any]) -> None:
    """`LARS.__setstate__`: the state of 1.0.2's LARS lacks options, which the recipe then gives."""
    Optimizer.__setstate__(optimizer, state)
    for group in optimizer.param_groups:
        group.update(optimizer.defaults | group)


def _patch_h5() -> None:
    """Lists the images of every file, and lets `loader` read them where a data set has one.

    solo-learn caches the list under the file's name alone: it would read another file of the same
    name with the list of the first.
    """
    try:
        import h5py
        from solo.data.h5_dataset import H5Dataset
    except ImportError:
        return

    def load_list(self):
        with h5py.File(self.h5_path) as file:
            self.classes, self.class_to_idx = self._find_classes(file)
            self._data = [
                (name, image, label)
                for name, label in self.class_to_idx.items()
                for image in file[name]
            ]

    def load_image(self, class_name: str, name: str):
        content = _H5Image(self.h5_file[class_name][name][:])
        content.name = f"{self.h5_path}:{class_name}/{name}"
        return self.loader(content)

    H5Dataset._load_h5_data_info = load_list
    H5Dataset._load_img = load_image
    H5Dataset.loader = staticmethod(lambda content: Image.open(content).convert("RGB"))


class _H5Image(io.BytesIO):
    """An image's content, with the attribute `name` of a file."""


class Checkpointer(CheckpointerMixin, SoloCheckpointer):
    """solo-learn's, which never leaves a partial checkpoint and saves the last epoch."""


def check(cfg: DictConfig) -> None:
    dataset, h5 = cfg.data.dataset, cfg.data.get("format") == "h5"
    if h5 and dataset not in _H5_DATASETS:
        raise InputError(
            f"data.format=h5 is for data.dataset={' or '.join(_H5_DATASETS)}, not {dataset}: "
            "change it, or set data.format=image_folder."
        )
    if h5 and find_spec("h5py") is None:
        raise InputError('data.format=h5 needs h5py: `pip install "solo-bayesncl[h5]"`.')


def pretrain_cfg(cfg: DictConfig) -> DictConfig:
    return count_classes(pretrain_args.parse_cfg(set_defaults(cfg, _DEFAULTS)))


def linear_cfg(cfg: DictConfig) -> DictConfig:
    return count_classes(linear_args.parse_cfg(set_defaults(cfg, _DEFAULTS)))


def method(name: str) -> type[Any] | None:
    return METHODS.get(name)


def method_names() -> tuple[str, ...]:
    return tuple(name for name in METHODS if name not in ("base", "linear"))


def backbone_names() -> tuple[str, ...]:
    return tuple(BACKBONES)


def build(cfg: DictConfig) -> BaseMethod:
    with _without_warning_of_steps():
        return _resumable(METHODS[cfg.method](cfg))


@contextmanager
def _without_warning_of_steps() -> Iterator[None]:
    """Hides that `scheduler.interval: step`, main's default, "might" not resume: our runs do."""
    root = logging.getLogger()

    def is_shown(record: logging.LogRecord) -> bool:
        return "scheduler_interval" not in record.getMessage()

    root.addFilter(is_shown)
    try:
        yield
    finally:
        root.removeFilter(is_shown)


def backbone(name: str, method: str | None, kwargs: dict, cifar_stem: bool) -> nn.Module:
    return remove_head(BACKBONES[name](method, **kwargs), name, cifar_stem)


def linear_model(backbone: nn.Module, cfg: DictConfig, loss_func=None, mixup_func=None) -> Any:
    return _resumable(LinearModel(backbone, cfg=cfg, loss_func=loss_func, mixup_func=mixup_func))


def _resumable(model: Any) -> Any:
    # omegaconf's lists in the state of an optimizer cannot be loaded with `weights_only=True`
    model.extra_optimizer_args = OmegaConf.to_container(
        OmegaConf.create(model.extra_optimizer_args)
    )
    make_contiguous(model)
    return model


def pretrain_transform(cfg: DictConfig) -> Callable:
    build_transform = partial(pretrain_dataloader.build_transform_pipeline, cfg.data.dataset)
    return multi_crop(pretrain_dataloader, cfg, build_transform)


def pretrain_loader(cfg: DictConfig):
    dataset = pretrain_dataloader.prepare_datasets(
        cfg.data.dataset,
        pretrain_transform(cfg),
        train_data_path=cfg.data.train_path,
        data_format=cfg.data.format,
    )
    return pretrain_dataloader.prepare_dataloader(portable(dataset), **loader_options(cfg))


def labelled_loaders(cfg: DictConfig, train_transform: Callable, val_transform: Callable):
    train, val = classification_dataloader.prepare_datasets(
        cfg.data.dataset,
        train_transform,
        val_transform,
        train_data_path=cfg.data.train_path,
        val_data_path=cfg.data.val_path,
        data_format=cfg.data.format,
    )
    if cfg.data.format == "h5":
        _match_labels(train, val)
    return classification_dataloader.prepare_dataloaders(train, val, **loader_options(cfg))


def _match_labels(train: Any, val: Any) -> None:
    """Gives images of validation the labels of training by the names of their classes.

    solo-learn numbers the classes of each file by themselves.
    """
    labels = {name: label for name, _, label in train._data}
    if unknown := sorted({name for name, _, _ in val._data} - labels.keys()):
        raise InputError(
            f"data.val_path={val.h5_path} has classes that data.train_path={train.h5_path} lacks: "
            f"{', '.join(unknown[:10])}. Training has: {', '.join(sorted(labels)[:10])}. Classes "
            "are matched by name: rename or remove those of data.val_path."
        )
    val._data = [(name, image, labels[name]) for name, image, _ in val._data]


def dali_augmentations(cfg: DictConfig) -> Callable[[], Crops]:
    with requires_dali():
        from solo.data.dali_dataloader import build_transform_pipeline_dali
    if any(augmentation.equalization.prob for augmentation in cfg.augmentations):
        raise InputError(
            "data.format=dali cannot equalize: set augmentations.INDEX.equalization.prob=0, or "
            "data.format=image_folder."
        )
    build_transform = partial(
        build_transform_pipeline_dali, cfg.data.dataset, dali_device=cfg.dali.device
    )
    return partial(multi_crop, pretrain_dataloader, cfg, build_transform)


def precision(value: str | int) -> str | int:
    return value
