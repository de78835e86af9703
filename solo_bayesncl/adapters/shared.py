"""What the adapters of both releases share."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from solo_bayesncl.errors import InputError

N_CLASSES = {"cifar10": 10, "cifar100": 100, "stl10": 10, "imagenet": 1000, "imagenet100": 100}


def default(cfg: DictConfig, key: str, value: object) -> None:
    """Sets `key` (dotted) to `value` where it is absent or null."""
    if OmegaConf.select(cfg, key) is None:
        OmegaConf.update(cfg, key, value, force_add=True)


def cap_top_k(accuracy_at_k: Callable) -> Callable:
    """solo-learn's accuracy with k capped at the number of classes: its linear probe asks for 5."""

    def capped(outputs: Tensor, targets: Tensor, top_k: Sequence[int] = (1, 5)) -> Sequence[Tensor]:
        return accuracy_at_k(outputs, targets, tuple(min(k, outputs.size(1)) for k in top_k))

    return capped


def over_processes(weighted_mean: Callable) -> Callable:
    """solo-learn's mean over validation batches, over those of all processes by their images.

    It takes the mean of each process's and then, where that is logged, the mean of these, as if
    every process had as many images.
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


def continue_momentum(model) -> None:
    """`on_train_start` of a momentum method: a resumed run goes on at its momentum, not the first.

    Args:
        model: has `last_step` and `momentum_updater`; its run is starting or resuming.
    """
    model.last_step = model.trainer.global_step
    model.momentum_updater.update_tau(
        cur_step=model.last_step, max_steps=model.trainer.estimated_stepping_batches
    )


def number_of_classes(cfg: DictConfig) -> int:
    """Classes of a named data set, or the folders of a custom one (1 without labels)."""
    known = N_CLASSES.get(cfg.data.dataset)
    folders = 0 if known else sum(entry.is_dir() for entry in Path(cfg.data.train_path).iterdir())
    return known or max(1, folders)


class CheckpointerMixin:
    """For a Checkpointer of the host: whole files, by all processes, and also of the last epoch.

    A checkpoint is written beside its place and renamed, so that a killed run leaves no half file;
    all processes take part, as Lightning saves with a barrier; and the last epoch, which
    `frequency` can miss, is saved too.

    Attributes:
        continued: checkpoint of the same folder that the run continues; the next one replaces it.
    """

    continued: Path | None = None

    def on_train_start(self, trainer, module):
        super().on_train_start(trainer, module)
        self.last_ckpt = self.continued

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
        partial = checkpoint.with_suffix(".partial")
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            partial.replace(checkpoint)
            if self.last_ckpt not in (None, checkpoint) and not self.keep_prev:
                Path(self.last_ckpt).unlink(missing_ok=True)
        self.last_ckpt = checkpoint


def dali_missing(error: ImportError) -> InputError:
    """What to say where DALI cannot be imported."""
    return InputError(
        f"data.format=dali needs NVIDIA DALI, which cannot be imported: {error}. "
        "Install the package that `solo-bayesncl doctor` names, or set data.format=image_folder."
    )


def headless(backbone: nn.Module, name: str, cifar_stem: bool) -> nn.Module:
    """A ResNet without its classification layer and, for CIFAR, with solo-learn's 3x3 stem."""
    if name.startswith("resnet"):
        backbone.fc = nn.Identity()
        if cifar_stem:
            backbone.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=2, bias=False)
            backbone.maxpool = nn.Identity()
    return backbone
