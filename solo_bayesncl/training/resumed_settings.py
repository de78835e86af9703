"""A resumed run follows its recipe: learning rates and schedule are not those of the checkpoint."""

import logging
import warnings
from collections.abc import Iterator
from typing import Any

from torch.optim import Optimizer

from solo_bayesncl.adapters import adapter

_logger = logging.getLogger(__name__)
_PROGRESS = ("last_epoch", "_step_count", "_last_lr", "_get_lr_called_within_step")


class SettingsOfRecipe(adapter().pl.callbacks.Callback):
    """Gives optimizer and schedule of a resumed run the settings of its recipe.

    Lightning restores them with the state, so that another `optimizer.lr` would have no effect.
    If they differ, learning rates become those of a run that has had the recipe from its start.
    """

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.global_step == 0:
            return
        optimizers, schedulers = _configured(pl_module)
        pairs = list(zip(trainer.optimizers, optimizers, strict=True))
        restored = [config.scheduler for config in trainer.lr_scheduler_configs]
        changed = {key for old, new in pairs for key in _changed_groups(old, new)}
        for old, new in zip(restored, schedulers, strict=True):
            changed |= _changed_schedule(old, new)
        if not changed:
            return
        _logger.info(
            "the recipe's settings, not the checkpoint's, are used: %s", ", ".join(sorted(changed))
        )
        for old, new in zip(restored, schedulers, strict=True):
            _advance(new, old.last_epoch)
            for key, value in _plain(new):
                setattr(old, key, value)
        for old, new in pairs:
            for group, fresh in zip(old.param_groups, new.param_groups, strict=True):
                group.update({key: value for key, value in fresh.items() if key != "params"})


def _configured(module: Any) -> tuple[list[Optimizer], list[Any]]:
    """New optimizers and schedulers, as in a run that starts."""
    configured = module.configure_optimizers()
    if isinstance(configured, Optimizer):
        return [configured], []
    optimizers, schedulers = configured
    return optimizers, [one["scheduler"] if isinstance(one, dict) else one for one in schedulers]


def _advance(scheduler: Any, epoch: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its optimizer takes no steps
        while scheduler.last_epoch < epoch:
            scheduler.step()


def _changed_groups(old: Optimizer, new: Optimizer) -> Iterator[str]:
    for group, fresh in zip(old.param_groups, new.param_groups, strict=True):
        for key, value in fresh.items():
            # with a schedule, lr follows from initial_lr
            ignored = key == "params" or (key == "lr" and "initial_lr" in fresh)
            if not ignored and group.get(key) != value:
                yield f"{key.removeprefix('initial_')} {group.get(key)} -> {value}"


def _changed_schedule(old: Any, new: Any) -> set[str]:
    return {
        f"{key} of the schedule {getattr(old, key, None)} -> {value}"
        for key, value in _plain(new)
        if key not in (*_PROGRESS, "base_lrs") and getattr(old, key, None) != value
    }


def _plain(scheduler: Any) -> Iterator[tuple[str, Any]]:
    """Its attributes that are numbers, texts or lists of them: no optimizer, no functions."""
    for key, value in vars(scheduler).items():
        values = value if isinstance(value, list) else [value]
        if all(isinstance(one, int | float | str) for one in values):
            yield key, value
