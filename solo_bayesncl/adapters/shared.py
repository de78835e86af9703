"""What the adapters of both releases share."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.utils.data import Dataset

from solo_bayesncl.adapters.datasets import NAMED
from solo_bayesncl.errors import InputError
from solo_bayesncl.image_files import class_names


def set_defaults(cfg: DictConfig, defaults: Mapping[str, Any]) -> DictConfig:
    """Sets dotted keys where they are absent or null, in place."""
    for key, value in defaults.items():
        if OmegaConf.select(cfg, key) is None:
            OmegaConf.update(cfg, key, value, force_add=True)
    return cfg


def count_classes(cfg: DictConfig) -> DictConfig:
    """Sets `data.num_classes`, in place: of a named data set, or of the class folders, at least 1.

    solo-learn also counts folders that hold no class, such as `.ipynb_checkpoints`.
    """
    named = NAMED.get(cfg.data.dataset)
    cfg.data.num_classes = (
        max(1, len(class_names(cfg.data.train_path))) if named is None else named.num_classes
    )
    return cfg


def labels_of(images: Dataset) -> Tensor:
    """(N,) int64 labels of a data set of solo-learn, without reading its images."""
    for name in ("targets", "labels"):  # CIFAR, STL-10
        if hasattr(images, name):
            return torch.from_numpy(np.asarray(getattr(images, name), dtype=np.int64))
    samples = images.samples if hasattr(images, "samples") else images._data  # folders, HDF5
    return torch.tensor([sample[-1] for sample in samples])


def patch_metrics(base: ModuleType, linear: ModuleType) -> None:
    """Corrects the accuracies and means of `solo.methods.base` and `solo.methods.linear`."""
    linear.accuracy_at_k = cap_top_k(linear.accuracy_at_k)
    for module in (base, linear):
        module.weighted_mean = mean_over_ranks(module.weighted_mean)


def cap_top_k(accuracy_at_k: Callable) -> Callable:
    """solo-learn's accuracy with k capped at the number of classes; its linear probe takes k=5."""

    def capped(outputs: Tensor, targets: Tensor, top_k: Sequence[int] = (1, 5)) -> Sequence[Tensor]:
        return accuracy_at_k(outputs, targets, tuple(min(k, outputs.size(1)) for k in top_k))

    return capped


def mean_over_ranks(weighted_mean: Callable) -> Callable:
    """solo-learn's mean over validation batches, over the images of all processes.

    solo-learn averages the means of the processes as if each had the same number of images.
    """

    def mean(outputs: Sequence[dict], key: str, batch_size_key: str) -> Tensor:
        own = weighted_mean(outputs, key, batch_size_key)
        if not (dist.is_available() and dist.is_initialized()):
            return own
        images = own.new_tensor(sum(out[batch_size_key] for out in outputs))
        total = torch.stack([own * images, images])
        dist.all_reduce(total)
        return total[0] / total[1]

    return mean


def zero_without_labels(loss: Tensor, targets: Tensor) -> Tensor:
    """The loss, or 0 if every target is ignored: cross_entropy is NaN then.

    Args:
        loss: scalar.
        targets: (N,) labels, below 0 for images without one.
    """
    return torch.where((targets < 0).all(), loss.nan_to_num(), loss)


def without_labels_zero(step: Callable) -> Callable:
    """A step of solo-learn with `zero_without_labels` for the loss of its classifier, if any."""

    @wraps(step)
    def corrected(method: Any, X: Tensor, targets: Tensor) -> dict:  # noqa: N803
        out = step(method, X, targets)
        if "loss" in out:
            out["loss"] = zero_without_labels(out["loss"], targets)
        return out

    return corrected


def continue_momentum(model: Any) -> None:
    """`on_train_start` of a momentum method: a resumed run continues at its step's momentum."""
    model.last_step = model.trainer.global_step
    model.momentum_updater.update_tau(
        cur_step=model.last_step, max_steps=model.trainer.estimated_stepping_batches
    )


def global_indexes(method: Any, batch: Tensor) -> Tensor:
    """(B,) indexes of this process's images in the global batch.

    Args:
        method: a Lightning module.
        batch: (B, ...) on the device of the result. B must be the same in every process.
    """
    return torch.arange(len(batch), device=batch.device) + method.global_rank * len(batch)


class CheckpointerMixin:
    """Mixin, listed before solo-learn's Checkpointer, for runs that are recorded before training.

    The last epoch, which `frequency` can miss, is saved too. All processes take part, since
    Lightning saves with a barrier. Its `CheckpointIO` must write whole files.

    Attributes:
        continued: checkpoint of the same folder that the run resumes; the next one replaces it.
    """

    continued: Path | None = None

    def on_train_start(self, trainer, module):
        super().on_train_start(trainer, module)
        self.last_ckpt = self.continued

    def save_args(self, trainer):
        """Does nothing: `args.json` is there."""

    def on_train_epoch_end(self, trainer, module):
        super().on_train_epoch_end(trainer, module)
        last = trainer.current_epoch + 1 == trainer.max_epochs
        if last and trainer.current_epoch % self.frequency != 0:
            self.save(trainer)

    def save(self, trainer):
        if trainer.sanity_checking:
            return
        checkpoint = self.path / self.ckpt_placeholder.format(trainer.current_epoch)
        for logger in trainer.loggers:
            if hasattr(logger, "record_epoch"):
                logger.record_epoch(trainer)
        trainer.save_checkpoint(checkpoint)
        replaced = None if self.keep_prev else self.last_ckpt
        if trainer.is_global_zero and replaced not in (None, checkpoint):
            Path(replaced).unlink(missing_ok=True)
        self.last_ckpt = checkpoint


def remove_head(backbone: nn.Module, name: str, cifar_stem: bool) -> nn.Module:
    """A ResNet without its classification layer and, for CIFAR, with solo-learn's 3x3 stem."""
    if name.startswith("resnet"):
        backbone.fc = nn.Identity()
        if cifar_stem:
            backbone.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=2, bias=False)
            backbone.maxpool = nn.Identity()
    return backbone


def multi_crop(solo_data: ModuleType, cfg: DictConfig, build: Callable) -> Callable:
    """From an image to all its crops, by solo-learn's classes of the module `solo_data`.

    `build` maps an entry of `augmentations` to the transform of one crop.
    """
    crops = [solo_data.NCropAugmentation(build(a), a.num_crops) for a in cfg.augmentations]
    return solo_data.FullTransformPipeline(crops)


def loader_options(cfg: DictConfig) -> dict[str, int]:
    """Keyword arguments of solo-learn's loaders."""
    return {"batch_size": cfg.optimizer.batch_size, "num_workers": cfg.data.num_workers}


@contextmanager
def requires_dali() -> Iterator[None]:
    """For imports of NVIDIA DALI: an `ImportError` becomes an `InputError`."""
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"data.format=dali needs NVIDIA DALI, which cannot be imported: {error}. Install the "
            "package that `solo-bayesncl doctor` names, or set data.format=image_folder."
        ) from error
