"""What the adapters of both releases share."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
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


def number_of_classes(cfg: DictConfig) -> int:
    """Classes of a named data set, or the folders of a custom one (1 without labels)."""
    known = N_CLASSES.get(cfg.data.dataset)
    folders = 0 if known else sum(entry.is_dir() for entry in Path(cfg.data.train_path).iterdir())
    return known or max(1, folders)


class WholeCheckpoints:
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
        'Install it with `pip install "solo-bayesncl[dali]"` or set data.format=image_folder.'
    )


def resize_dali_probe(
    pipeline, crop_size: int, mean: Sequence[float], std: Sequence[float]
) -> None:
    """Replaces the 224 px that both releases fix in their labelled DALI pipeline.

    Args:
        pipeline: a `NormalPipeline` (1.0.2) or `NormalPipelineBuilder` (main), already built.
        crop_size: px.
        mean, std: of the normalisation, per channel, for pixels in 0..1.
    """
    from nvidia.dali import ops, types

    pipeline.resize = ops.RandomResizedCrop(
        device=pipeline.device,
        size=crop_size,
        random_area=(0.08, 1.0),
        interp_type=types.INTERP_CUBIC,
    )
    pipeline.cmn = ops.CropMirrorNormalize(
        device=pipeline.device,
        dtype=types.FLOAT,
        output_layout=types.NCHW,
        mean=[255 * value for value in mean],
        std=[255 * value for value in std],
    )


def on_cpu_without_cuda(device: str) -> bool:
    """Whether DALI must be given no device id."""
    return device == "cpu" and not torch.cuda.is_available()


def headless(backbone: nn.Module, name: str, cifar_stem: bool) -> nn.Module:
    """A ResNet without its classification layer and, for CIFAR, with solo-learn's 3x3 stem."""
    if name.startswith("resnet"):
        backbone.fc = nn.Identity()
        if cifar_stem:
            backbone.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=2, bias=False)
            backbone.maxpool = nn.Identity()
    return backbone
