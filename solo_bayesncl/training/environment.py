"""Makes the installed solo-learn ready for our commands, and checks recipes against it."""

import inspect
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from solo_bayesncl.adapters import adapter
from solo_bayesncl.errors import InputError, require_one_of
from solo_bayesncl.recipes.trainer_settings import TrainerSettings

# raised in every run because of what solo-learn does, so a user can do nothing about them
_IGNORED_WARNINGS = (
    ".*does not have many workers.*",
    ".*pin_memory.*",
    ".*number of training batches.*",
    ".*currently marked under review.*",
    ".*ReduceOp.*",
    ".*Please call `lr_scheduler.step.*",
    ".*lr_scheduler.step.. before .optimizer.step.*",
    ".*LightningModule..*hook.*",
    ".*GPU available but not used.*",
    ".*epoch parameter in `scheduler.step.*",
    ".*isinstance.treespec.*",
    ".*LeafSpec.*",
    ".*torch.distributed.nn.functional.*",
)


def prepare_solo_learn() -> None:
    """Patches solo-learn's faults and silences warnings that a user can do nothing about."""
    adapter().patch_solo_learn()  # imports Lightning, which sets its loggers' levels
    for message in _IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


def check_release(cfg: DictConfig) -> None:
    """Raises `InputError` for backbones, formats and settings that the installed release lacks."""
    note = adapter().OTHER_RELEASE
    require_one_of(cfg.backbone.name, adapter().backbone_names(), "backbone.name", note)
    require_one_of(cfg.data.get("format", "image_folder"), adapter().FORMATS, "data.format", note)
    accepted = inspect.signature(adapter().pl.Trainer.__init__).parameters
    for key in TrainerSettings.model_fields.keys() - accepted.keys():
        if cfg.get(key) is not None:
            raise InputError(
                f"{key}={cfg[key]}: Lightning {adapter().pl.__version__} has no such setting. "
                "Remove it."
            )
    adapter().check(cfg)


@contextmanager
def model_errors_as_input_errors(cfg: DictConfig) -> Iterator[None]:
    """Turns what backbones and methods raise for wrong keyword arguments into `InputError`.

    A width that no memory holds is a `RuntimeError` or an `OverflowError`.
    """
    try:
        yield
    except InputError:
        raise
    except (
        *(TypeError, ValueError, AssertionError, AttributeError, KeyError),
        *(RuntimeError, MemoryError, OverflowError, OmegaConfBaseException),
    ) as error:
        raise InputError(
            f"The model cannot be built from backbone.kwargs={cfg.backbone.get('kwargs')} and "
            f"method_kwargs={cfg.get('method_kwargs')}: {error}"
        ) from error


@contextmanager
def trainer_errors_as_input_errors(fitting: bool = False) -> Iterator[None]:
    """Turns what Lightning's Trainer raises for settings that it refuses into `InputError`.

    While fitting, when other errors can be anything's, only what is about a setting.
    """
    refused = adapter().pl.utilities.exceptions.MisconfigurationException
    try:
        yield
    except InputError:
        raise
    except (refused, ValueError, TypeError) as error:
        about_setting = isinstance(error, refused) or "val_check_interval" in str(error)
        if fitting and not about_setting:
            raise
        raise InputError(f"Lightning refuses the settings of its Trainer: {error}") from error
