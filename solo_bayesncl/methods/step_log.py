"""Logging of training steps that neither waits for the GPU nor for other processes."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


class StepLogMixin:
    """Mixin, listed before a solo-learn method: what is logged of a step stays on its process.

    Asked for a value of each step and its mean over the epoch, with `sync_dist=True`, Lightning
    reduces it over all processes at every step: a barrier and an all-reduce per value, and
    solo-learn's base class logs three. Here the two are logged apart, under the names that
    Lightning gives them: `<name>_step` is this process's, `<name>_epoch` is reduced once, at the
    end of the epoch.
    """

    def log(self, name: str, value: Any, **options: Any) -> None:
        """As Lightning's, but values of step and epoch are those of `log_step`."""
        both = options.get("on_epoch") and options.get("on_step", True) in (None, True)
        if both and options.get("sync_dist") and self.trainer.training:
            self.log_step({name: value})
        else:
            super().log(name, value, **options)

    def log_step(self, values: Mapping[str, Tensor]) -> None:
        """Logs scalars of a training step and their means over the epoch.

        Args:
            values: name -> scalar on the module's device; a value elsewhere could not be reduced
                where the process group is NCCL's.
        """
        for name, value in values.items():
            self.log(f"{name}_step", value, on_step=True, on_epoch=False)
            self.log(f"{name}_epoch", value, on_step=False, on_epoch=True, sync_dist=True)
