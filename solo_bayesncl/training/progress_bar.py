"""Lightning's progress bar with the terms of the loss, which never waits for the GPU."""

from typing import Any

from solo_bayesncl.adapters import adapter


class LossProgressBar(adapter().pl.callbacks.TQDMProgressBar):
    """Shows the terms of the loss as they were last written to the curves.

    What is logged with `prog_bar=True`, Lightning reads from the GPU each time that it draws the
    bar, which is at every step. The first of the trainer's loggers is to be a `CurvesLogger`.
    """

    def get_metrics(self, trainer: Any, pl_module: Any) -> dict[str, str]:
        """Name without `_step` -> value, in nats."""
        latest = trainer.loggers[0].latest
        return {
            name.removesuffix("_step"): f"{value:.3g}"
            for name, value in latest.items()
            if name.endswith("_loss_step")
        }
