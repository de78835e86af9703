"""Warns while a run trains that its gates or codes have collapsed."""

import logging
from typing import Any

from omegaconf import DictConfig

from solo_bayesncl.adapters import adapter
from solo_bayesncl.methods.collapse import collapse_of

_logger = logging.getLogger(__name__)


class WarnOfCollapse(adapter().pl.callbacks.Callback):
    """Reads the means of each epoch, which are logged anyway.

    A collapse is reported when it is first seen, and after the last epoch if it is still there.
    """

    def __init__(self, cfg: DictConfig):
        self.cfg = cfg
        self._reported = False

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        values = trainer.callback_metrics
        empty_share = values.get("train_empty_code_share_epoch")
        if empty_share is None:  # not one of our methods
            return
        open_rate = values.get("train_gate_open_rate_epoch")
        at_end = trainer.current_epoch + 1 == trainer.max_epochs
        collapse = collapse_of(
            self.cfg.method_kwargs,
            float(empty_share),
            None if open_rate is None else float(open_rate),
            at_end=at_end,
        )
        if collapse and (at_end or not self._reported):
            self._reported = True
            _logger.warning("epoch %d: %s", trainer.current_epoch, collapse)
