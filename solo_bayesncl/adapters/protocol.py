"""The interface to the installed solo-learn, which the adapter of each release implements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from torch import nn
    from torch.utils.data import DataLoader

# decoded images of a DALI pipeline -> their crops
Crops = Callable[[Any], Sequence[Any]]


class Adapter(Protocol):
    """A release of solo-learn behind main's contract; the adapters are modules.

    A method is `Method(cfg: DictConfig)` with main's attributes and hooks, and a recipe means on
    every release what it means on main.

    Attributes:
        NAME: the release, for messages.
        FORMATS: values of `data.format` that the release reads.
        OTHER_RELEASE: sentence for messages about names that only the other release has; "" for
            main.
        METHODS: solo-learn's registry of methods, name -> class.
        BACKBONES: the release's registry of backbones, name -> function that builds one.
        pl: the namespace of the release's Lightning.
        BaseMethod, SimCLR, LinearModel: solo-learn's classes with main's contract.
        Checkpointer: callback that writes a run's checkpoints and `args.json`.
        KNN: weighted k-nearest-neighbour classifier, a torchmetrics metric.
    """

    NAME: str
    FORMATS: tuple[str, ...]
    OTHER_RELEASE: str
    METHODS: dict[str, Any]
    BACKBONES: dict[str, Callable[..., nn.Module]]
    pl: ModuleType
    BaseMethod: type[Any]
    SimCLR: type[Any]
    LinearModel: type[Any]
    Checkpointer: type[Any]
    KNN: type[Any]

    def patch_solo_learn(self) -> None:
        """Corrects solo-learn's own classes and functions; only commands of this package do so."""

    def check(self, cfg: DictConfig) -> None:
        """Raises `InputError` for settings that the release lacks."""

    def pretrain_cfg(self, cfg: DictConfig) -> DictConfig:
        """Adds solo-learn's defaults to a pretraining recipe and scales its learning rates."""

    def linear_cfg(self, cfg: DictConfig) -> DictConfig:
        """Adds solo-learn's defaults to a linear-evaluation recipe and scales its learning rate."""

    def method(self, name: str) -> type[Any] | None:
        """A contrastive method of solo-learn with main's contract, or None if it has none."""

    def method_names(self) -> tuple[str, ...]:
        """Values of `method` that can be built."""

    def backbone_names(self) -> tuple[str, ...]:
        """Values of `backbone.name` that can be built."""

    def build(self, cfg: DictConfig) -> Any:
        """The method of a completed pretraining configuration, untrained."""

    def backbone(self, name: str, method: str | None, kwargs: dict, cifar_stem: bool) -> nn.Module:
        """A backbone without its classification layer, as the methods hold it."""

    def linear_model(
        self,
        backbone: nn.Module,
        cfg: DictConfig,
        loss_func: Callable | None = None,
        mixup_func: Callable | None = None,
    ) -> Any:
        """solo-learn's linear probe on a backbone."""

    def pretrain_transform(self, cfg: DictConfig) -> Callable:
        """From a PIL image to the list of its crops."""

    def pretrain_loader(self, cfg: DictConfig) -> DataLoader:
        """Batches of (indexes, crops, targets) for pretraining; not of image folders."""

    def labelled_loaders(
        self, cfg: DictConfig, train_transform: Callable, val_transform: Callable
    ) -> tuple[DataLoader, DataLoader]:
        """Training and validation batches of (images, targets); not of image folders."""

    def dali_augmentations(self, cfg: DictConfig) -> Callable[[], Crops]:
        """Builds the recipe's augmentations for a DALI pipeline; raises `InputError`."""

    def precision(self, value: str | int) -> str | int:
        """The name of a precision in the release's Lightning."""
