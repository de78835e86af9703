"""Stops a run whose loss or weights are no longer finite, before a good checkpoint is replaced."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from omegaconf import DictConfig
from torch import Tensor, nn

from solo_bayesncl import files, runs
from solo_bayesncl.adapters import adapter
from solo_bayesncl.errors import InputError

# where float16 ends; weights of networks that learn stay far below it
LARGEST_WEIGHT = torch.finfo(torch.float16).max
_IMAGES_SHOWN = 3
# its loss is a mean over nothing, without a gradient, until images have clusters
_UNDEFINED_AT_FIRST = ("deepclusterv2",)


class DivergedError(InputError):
    """A loss or a weight is not finite. Earlier checkpoints are as they were."""


@dataclass(frozen=True)
class _Step:
    """What is kept of a training step until it is checked.

    Attributes:
        epoch, number, batch: from 0; `number` is the step of `metrics.csv`.
        names: of the values: the whole loss, then the logged terms.
        values: (len(names),) on the module's device.
    """

    epoch: int
    number: int
    batch: int
    names: tuple[str, ...]
    values: Tensor


@dataclass(frozen=True)
class _Divergence:
    """What is not finite, and where.

    Attributes:
        epoch, step: from 0.
        reason: name and value.
        rank: of the process that found it.
        images: files of the process's batch, see `images_of_batch`; none if it is not about one.
    """

    epoch: int
    step: int
    reason: str
    rank: int
    images: list[str]


class StopWhenDiverged(adapter().pl.callbacks.Callback):
    """Raises `DivergedError` at a loss, or at weights to be saved, that are not finite.

    One process on the CPU checks every step. Elsewhere the losses stay on the device and are
    checked together every `log_every_n_steps`, when Lightning reads what is logged anyway, and at
    the end of each epoch: a step waits neither for the GPU nor for other processes. The first
    step in question is named. All processes stop together, and rank zero has the message.

    Gradients are not checked: in 16-bit training some overflow, and such steps are skipped.
    """

    def __init__(self, cfg: DictConfig):
        self.cfg = cfg
        self._place = (0, 0, 0)  # epoch, optimizer step, batch
        self._unchecked: list[_Step] = []
        self._weights_checked_at = -1

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.is_global_zero:  # this run goes on from before it diverged
            _record(trainer).unlink(missing_ok=True)

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, *unused: Any
    ) -> None:
        self._place = (trainer.current_epoch, trainer.global_step, batch_idx)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, *unused: Any
    ) -> None:
        by_design = self.cfg.get("method") in _UNDEFINED_AT_FIRST and self._place[0] == 0
        if outputs and not by_design:  # no outputs if the method has skipped the step
            values = {"the loss": outputs["loss"]} | _logged_terms(trainer)
            stacked = torch.stack([value.detach().float() for value in values.values()])
            self._unchecked.append(_Step(*self._place, tuple(values), stacked))
        at_once = trainer.world_size == 1 and pl_module.device.type == "cpu"
        if at_once or (batch_idx + 1) % (trainer.log_every_n_steps or 50) == 0:
            self._check_losses(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._check(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        """Lightning calls it before it writes a checkpoint, whatever asks for one."""
        self._check(trainer, pl_module)

    def _check(self, trainer: Any, module: nn.Module) -> None:
        self._check_losses(trainer)
        if trainer.global_step != self._weights_checked_at:
            self._weights_checked_at = trainer.global_step
            epoch, step, _ = self._place
            reason = _wrong_state(trainer, module)
            own = reason and _Divergence(epoch, step, reason, trainer.global_rank, [])
            self._stop_if_any(trainer, own)

    def _check_losses(self, trainer: Any) -> None:
        steps, self._unchecked = self._unchecked, []
        losses = [step.values[0] for step in steps]
        finite = torch.stack(losses).isfinite().tolist() if losses else []
        own = None
        if not all(finite):
            first = steps[finite.index(False)]
            images = images_of_batch(trainer, first.epoch, first.batch)
            reason = _non_finite_values(first)
            own = _Divergence(first.epoch, first.number, reason, trainer.global_rank, images)
        self._stop_if_any(trainer, own)

    def _stop_if_any(self, trainer: Any, own: _Divergence | None) -> None:
        """Stops all processes if any of them has diverged; a collective operation."""
        if not trainer.strategy.reduce_boolean_decision(own is not None, all=False):
            return
        found = [own]
        if trainer.world_size > 1:
            found = [None] * trainer.world_size
            dist.all_gather_object(found, own)
        if not trainer.is_global_zero:
            raise SystemExit(2)
        first = min(filter(None, found), key=lambda one: (one.step, one.rank))
        record = _record(trainer)
        files.write_json(record, asdict(first))
        raise DivergedError(_message(first, self.cfg, record, _last_checkpoint(trainer)))


def _record(trainer: Any) -> Path:
    return Path(trainer.loggers[0].log_dir) / runs.DIVERGED


def _logged_terms(trainer: Any) -> dict[str, Tensor]:
    """Name -> scalar on the module's device, for each loss that the step has logged."""
    return {
        name.removesuffix("_step"): value
        for name, value in trainer.callback_metrics.items()
        if "loss" in name and not name.startswith("val_") and not name.endswith("_epoch")
    }


def _non_finite_values(step: _Step) -> str:
    """The logged terms that are not finite, or else the whole loss, with their values."""
    whole, *terms = zip(step.names, step.values.tolist(), strict=True)
    wrong = [term for term in terms if not math.isfinite(term[1])] or [whole]
    return ", ".join(f"{name} is {value}" for name, value in wrong)


def _wrong_state(trainer: Any, module: nn.Module) -> str | None:
    """What is wrong with weights or optimizer state: not finite, or a weight beyond any use."""
    parameters = dict(module.named_parameters())
    names = {parameter: name for name, parameter in parameters.items()}
    state = {**parameters, **dict(module.named_buffers())}
    for optimizer in trainer.optimizers:
        for parameter, values in optimizer.state.items():
            state |= {f"{key} of {names.get(parameter)}": value for key, value in values.items()}
    for name, value in _largest(state).items():
        if not math.isfinite(value):
            return f"{name} is not finite"
        if name in parameters and value > LARGEST_WEIGHT:
            return f"{name} has grown to {value:.1e}"
    return None


def _largest(values: dict[str, Any]) -> dict[str, float]:
    """Name -> largest magnitude, NaN if it holds one; waits for the GPU once."""
    tensors = {
        name: value.detach()
        for name, value in values.items()
        if isinstance(value, Tensor) and value.is_floating_point() and value.numel()
    }
    if not tensors:
        return {}
    # four times as fast as a maximum norm on the CPU
    extremes = [torch.stack(torch.aminmax(tensor)).double() for tensor in tensors.values()]
    device = max((one.device for one in extremes), key=lambda device: device.type != "cpu")
    largest = torch.stack([one.to(device) for one in extremes]).abs().amax(dim=1).tolist()
    return dict(zip(tensors, largest, strict=True))


def images_of_batch(trainer: Any, epoch: int, batch: int) -> list[str]:
    """Files of a batch of this process, or numbers of its images where a data set has no files.

    The order of images depends on seed and epoch alone, so that nothing need be kept of batches.
    """
    loader = trainer.train_dataloader
    loader = getattr(loader, "loaders", loader)  # in Lightning 1
    loader = getattr(loader, "order", loader)  # DALI's
    if not hasattr(loader.sampler, "set_epoch"):  # Lightning's overfit_batches has its own order
        return []
    loader.sampler.set_epoch(epoch)
    indexes = [index for _, index in list(loader.batch_sampler)[batch]]
    return image_names(loader.dataset.samples.samples, indexes)


def image_names(dataset: Any, indexes: Sequence[int]) -> list[str]:
    """Paths of images by their indexes; the indexes themselves where a data set has no files."""
    if hasattr(dataset, "samples"):
        return [str(dataset.samples[index][0]) for index in indexes]
    return [str(index) for index in indexes]


def _last_checkpoint(trainer: Any) -> str | None:
    """The newest one of this run, or the one that it goes on from."""
    saved = (getattr(callback, "last_ckpt", None) for callback in trainer.callbacks)
    return next((path for path in saved if path), trainer.ckpt_path)


def _message(divergence: _Divergence, cfg: DictConfig, record: Path, checkpoint: str | None) -> str:
    images = divergence.images
    more = f" and {len(images) - _IMAGES_SHOWN} more" if len(images) > _IMAGES_SHOWN else ""
    shown = f" The batch: {', '.join(images[:_IMAGES_SHOWN])}{more}." if images else ""
    advice = ["Lower optimizer.lr or lengthen scheduler.warmup_epochs"]
    if cfg.precision != "32-true":
        advice.append("set precision=32-true")
    if "temperature" in (cfg.get("method_kwargs") or {}):
        advice.append("raise method_kwargs.temperature")
    kept = (
        "No epoch was finished, so there is no checkpoint."
        if checkpoint is None
        else f"The last good checkpoint is {checkpoint}: go on from it with other settings by "
        f"resume_from_checkpoint={checkpoint}."
    )
    return (
        f"training diverged at epoch {divergence.epoch}, step {divergence.step}: "
        f"{divergence.reason}.{shown} {', or '.join(advice)}. {kept} The step is recorded in "
        f"{record}."
    )
