"""solo-learn main (GitHub, 1.0.3 and later, `lightning` 2.x)."""

from collections.abc import Callable
from contextlib import contextmanager
from functools import cache, partial
from importlib.util import find_spec
from types import ModuleType

import lightning.pytorch as pl
import solo.methods.base
import solo.methods.linear
from lightning.pytorch.strategies import DDPStrategy
from omegaconf import DictConfig, OmegaConf
from solo.args import linear as linear_args
from solo.args import pretrain as pretrain_args
from solo.data import classification_dataloader, pretrain_dataloader
from solo.methods import METHODS
from solo.methods.base import BaseMethod, BaseMomentumMethod
from solo.methods.linear import LinearModel
from solo.methods.simclr import SimCLR
from solo.utils.checkpointer import Checkpointer as SoloCheckpointer
from solo.utils.knn import WeightedKNNClassifier as KNN  # noqa: N814
from solo.utils.misc import make_contiguous
from torch import nn
from torch.utils.data import DataLoader

from solo_bayesncl.adapters.shared import (
    CheckpointerMixin,
    cap_top_k,
    continue_momentum,
    dali_missing,
    default,
    headless,
    over_processes,
)
from solo_bayesncl.data.loaders import portable
from solo_bayesncl.errors import InputError

__all__ = ["KNN", "METHODS", "BaseMethod", "Checkpointer", "SimCLR", "pl"]

NAME = "solo-learn main"
FORMATS = ("image_folder", "dali", "h5")
H5_DATASETS = ("imagenet", "imagenet100")
MORE = ""


@cache
def patch_solo_learn() -> None:
    solo.methods.linear.accuracy_at_k = cap_top_k(solo.methods.linear.accuracy_at_k)
    for module in (solo.methods.base, solo.methods.linear):
        module.weighted_mean = over_processes(module.weighted_mean)
    BaseMomentumMethod.on_train_start = continue_momentum
    _read_h5_itself()


def _read_h5_itself() -> None:
    """The host keeps the list of a file's images in the home folder, by the file's name alone.

    Another file of that name would be read with the list of the first.
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

    H5Dataset._load_h5_data_info = load_list


class Checkpointer(CheckpointerMixin, SoloCheckpointer):
    """solo-learn's, with whole checkpoints and the last epoch's."""


def method_names() -> tuple[str, ...]:
    return tuple(name for name in METHODS if name not in ("base", "linear"))


def method(name: str) -> type[BaseMethod] | None:
    return METHODS.get(name)


def backbone_names() -> tuple[str, ...]:
    return tuple(BaseMethod._BACKBONES)


def check(cfg: DictConfig) -> None:
    """Refuses combinations that this release has no data set for.

    Raises:
        InputError: names the key to change.
    """
    dataset, h5 = cfg.data.dataset, cfg.data.get("format") == "h5"
    if h5 and dataset not in H5_DATASETS:
        raise InputError(
            f"data.format=h5 is for data.dataset={' or '.join(H5_DATASETS)}, not {dataset}: change "
            "it, or set data.format=image_folder."
        )
    if h5 and find_spec("h5py") is None:
        raise InputError('data.format=h5 needs h5py: `pip install "solo-bayesncl[h5]"`.')
    if _fraction(cfg) > 0 and (h5 or dataset not in (*H5_DATASETS, "custom")):
        raise InputError(
            f"data.fraction={cfg.data.fraction} is for image folders, not for "
            f"{'data.format=h5' if h5 else f'data.dataset={dataset}'}: leave it out."
        )


def _fraction(cfg: DictConfig) -> float:
    fraction = cfg.data.get("fraction")
    return -1 if fraction is None else fraction


def pretrain_cfg(cfg: DictConfig) -> DictConfig:
    default(cfg, "dali.device", "gpu")
    cfg.data.fraction = _fraction(cfg)
    return pretrain_args.parse_cfg(cfg)


def linear_cfg(cfg: DictConfig) -> DictConfig:
    default(cfg, "dali.device", "gpu")
    cfg.data.fraction = _fraction(cfg)
    return linear_args.parse_cfg(cfg)


def build(cfg: DictConfig) -> BaseMethod:
    model = METHODS[cfg.method](cfg)
    # a list of omegaconf's in the optimizer's state could not be loaded when resuming
    model.extra_optimizer_args = OmegaConf.to_container(
        OmegaConf.create(model.extra_optimizer_args)
    )
    make_contiguous(model)
    return model


def backbone(name: str, method: str, kwargs: dict, cifar_stem: bool) -> nn.Module:
    return headless(BaseMethod._BACKBONES[name](method, **kwargs), name, cifar_stem)


def linear_model(backbone, cfg: DictConfig, loss_func=None, mixup_func=None) -> LinearModel:
    model = LinearModel(backbone, cfg=cfg, loss_func=loss_func, mixup_func=mixup_func)
    model.extra_optimizer_args = OmegaConf.to_container(
        OmegaConf.create(model.extra_optimizer_args)
    )
    make_contiguous(model)
    return model


def _crops(cfg: DictConfig, build_transform: Callable):
    """All crops of an image; `build_transform` takes the data set's name and an augmentation."""
    return pretrain_dataloader.FullTransformPipeline(
        [
            pretrain_dataloader.NCropAugmentation(
                build_transform(cfg.data.dataset, augmentation), augmentation.num_crops
            )
            for augmentation in cfg.augmentations
        ]
    )


def pretrain_transform(cfg: DictConfig):
    return _crops(cfg, pretrain_dataloader.build_transform_pipeline)


@contextmanager
def _explained_fraction(cfg: DictConfig):
    """Turns what scikit-learn raises for a share that has not each class into one message."""
    try:
        yield
    except ValueError as error:
        if _fraction(cfg) <= 0:
            raise
        raise InputError(
            f"data.fraction={cfg.data.fraction} of data.train_path={cfg.data.train_path} does not "
            f"hold every class: {error} Give a larger share."
        ) from error


def pretrain_loader(cfg: DictConfig):
    no_labels = cfg.data.no_labels
    with _explained_fraction(cfg):
        dataset = pretrain_dataloader.prepare_datasets(
            cfg.data.dataset,
            pretrain_transform(cfg),
            train_data_path=cfg.data.train_path,
            data_format=cfg.data.format,
            no_labels=no_labels,
            data_fraction=-1 if no_labels else cfg.data.fraction,
        )
        dataset = portable(dataset)
        if no_labels and _fraction(cfg) > 0:  # solo-learn's choice, but from the sorted images
            from sklearn.model_selection import train_test_split  # slow to import

            dataset.images, _ = train_test_split(
                dataset.images, train_size=cfg.data.fraction, random_state=42
            )
    return pretrain_dataloader.prepare_dataloader(
        dataset, batch_size=cfg.optimizer.batch_size, num_workers=cfg.data.num_workers
    )


def labelled_loaders(cfg: DictConfig, train_transform, val_transform):
    with _explained_fraction(cfg):
        train, val = classification_dataloader.prepare_datasets(
            cfg.data.dataset,
            train_transform,
            val_transform,
            train_data_path=cfg.data.train_path,
            val_data_path=cfg.data.val_path,
            data_format="image_folder" if cfg.data.format == "dali" else cfg.data.format,
            data_fraction=_fraction(cfg),
        )
    return classification_dataloader.prepare_dataloaders(
        train, val, batch_size=cfg.optimizer.batch_size, num_workers=cfg.data.num_workers
    )


def dali_pretrain(cfg: DictConfig) -> pl.LightningDataModule:
    dali, build_transform = _dali()
    if any(augmentation.equalization.prob for augmentation in cfg.augmentations):
        raise InputError(
            "data.format=dali cannot equalize: set augmentations.INDEX.equalization.prob=0, or "
            "data.format=image_folder."
        )
    make_crops = partial(_crops, cfg, partial(build_transform, dali_device=cfg.dali.device))
    return dali.data_module(pl, partial(dali.DALILoader, pretrain_loader(cfg), make_crops, cfg))


def dali_linear(cfg: DictConfig, train_loader: DataLoader) -> pl.LightningDataModule:
    dali, _ = _dali()
    make_crops = partial(dali.probe_crops, cfg)
    return dali.data_module(pl, partial(dali.LabelledLoader, train_loader, make_crops, cfg))


def _dali() -> tuple[ModuleType, Callable]:
    """Our loaders and the host's builder of augmentations; both need DALI."""
    try:
        from solo.data.dali_dataloader import build_transform_pipeline_dali

        from solo_bayesncl.adapters import dali
    except ImportError as error:
        raise dali_missing(error) from error
    return dali, build_transform_pipeline_dali


def precision(value: str | int) -> str | int:
    return value


def strategy(name: str | None):
    return DDPStrategy(find_unused_parameters=False) if name == "ddp" else name or "auto"
