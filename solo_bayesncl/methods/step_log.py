"""Logging of training steps that waits neither for the GPU nor for other processes."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

# suffix -> how a value is logged. In one process a single call suffices, half of the time: there
# is nothing to reduce, and Lightning adds the suffixes.
_ONE_PROCESS = {"": {"on_step": True, "on_epoch": True, "sync_dist": False}}
_PROCESSES = {
    "_step": {"on_step": True, "on_epoch": False, "sync_dist": False},
    "_epoch": {"on_step": False, "on_epoch": True, "sync_dist": True},
}


class StepLogMixin:
    """Mixin, listed before a solo-learn method, that reduces logged values once an epoch.

    With `on_step=True, on_epoch=True, sync_dist=True` Lightning reduces a value over all processes
    at every step: a barrier and an all-reduce per value, and solo-learn's base class logs three.
    Here, under the same names, `<name>_step` is this process's and `<name>_epoch` is reduced at the
    end of the epoch.
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
        one_process = self._trainer is None or self._trainer.world_size == 1
        calls = _ONE_PROCESS if one_process else _PROCESSES
        for name, value in values.items():
            for suffix, when in calls.items():
                self.log(f"{name}{suffix}", value, **options | when)
