"""Logging of training steps that waits neither for the GPU nor for other processes."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


class StepLogMixin:
    """Mixin, listed before a solo-learn method, that reduces logged values once an epoch.

    With `on_step=True, on_epoch=True, sync_dist=True` Lightning reduces a value over all processes
    at every step: a barrier and an all-reduce per value, and solo-learn's base class logs three.
    Here the two are logged separately, under Lightning's names: `<name>_step` is this process's,
    `<name>_epoch` is reduced at the end of the epoch.
    """

    def log(self, name: str, value: Any, *args: Any, **options: Any) -> None:
        """As Lightning's, but what it would reduce at every training step goes to `log_step`."""
        training = self._trainer is not None and self._trainer.training
        over_processes = options.get("on_epoch") and options.get("sync_dist") and not args
        if training and over_processes and options.get("on_step") in (None, True):
            self.log_step({name: value}, **options)
        else:
            super().log(name, value, *args, **options)

    def log_step(self, values: Mapping[str, Tensor], **options: Any) -> None:
        """Logs scalars of a training step and their means over the epoch.

        Args:
            values: name -> scalar on the module's device, as NCCL cannot reduce it elsewhere.
            options: further arguments of Lightning's `log`.
        """
        step = options | {"on_step": True, "on_epoch": False, "sync_dist": False}
        epoch = options | {"on_step": False, "on_epoch": True, "sync_dist": True}
        for name, value in values.items():
            self.log(f"{name}_step", value, **step)
            self.log(f"{name}_epoch", value, **epoch)
