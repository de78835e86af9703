"""solo-learn 1.0.2 (PyPI), with main's meaning.

Its methods take keyword arguments, call the backbone `encoder` and schedule per epoch. On today's
torch its LARS does nothing, its loss compares the images of one process only, and the gradient of
its `gather` is wrong. Subclasses correct all of it.
"""

import argparse
from functools import cache
from pathlib import Path

import pytorch_lightning as pl
import solo.methods.base
import solo.methods.linear
from omegaconf import DictConfig, OmegaConf
from solo.methods import METHODS
from solo.utils.checkpointer import Checkpointer as SoloCheckpointer

from solo_bayesncl.adapters.shared import CheckpointerMixin, patch_metrics
from solo_bayesncl.adapters.v1_0_2.backbones import BACKBONES, backbone, backbone_names
from solo_bayesncl.adapters.v1_0_2.data import (
    dali_augmentations,
    labelled_loaders,
    pretrain_loader,
    pretrain_transform,
)
from solo_bayesncl.adapters.v1_0_2.linear import LinearModel, linear_model
from solo_bayesncl.adapters.v1_0_2.methods import (
    KNN,
    BaseMethod,
    SimCLR,
    build,
    method,
    method_names,
)
from solo_bayesncl.adapters.v1_0_2.settings import check, linear_cfg, pretrain_cfg

__all__ = [
    "NAME", "FORMATS", "OTHER_RELEASE", "METHODS", "BACKBONES", "pl", "BaseMethod", "SimCLR",
    "LinearModel", "Checkpointer", "KNN", "patch_solo_learn", "check", "pretrain_cfg", "linear_cfg",
    "method", "method_names", "backbone_names", "build", "backbone", "linear_model",
    "pretrain_transform", "pretrain_loader", "labelled_loaders", "dali_augmentations", "precision",
]  # fmt: skip

NAME = "solo-learn 1.0.2"
FORMATS: tuple[str, ...] = ("image_folder", "dali")
OTHER_RELEASE = " Those run here on solo-learn 1.0.2; solo-learn main (GitHub) has more."
_PRECISIONS = {"16-mixed": 16, "bf16-mixed": "bf16", "32-true": 32, "64-true": 64}


@cache
def patch_solo_learn() -> None:
    patch_metrics(solo.methods.base, solo.methods.linear)


class Checkpointer(CheckpointerMixin, SoloCheckpointer):
    """As main's, with main's signature and record of settings."""

    def __init__(self, cfg: DictConfig, logdir: Path, frequency: int, keep_prev: bool):
        record = argparse.Namespace(**OmegaConf.to_container(cfg))
        super().__init__(record, Path(logdir), frequency)
        self.keep_prev = keep_prev


def precision(value: str | int) -> str | int:
    return _PRECISIONS.get(value, value)
