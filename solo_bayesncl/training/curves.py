"""Training curves of a run as `metrics.csv` in its folder, kept across interruptions."""

import csv
from pathlib import Path
from typing import Any

from solo_bayesncl import files
from solo_bayesncl.adapters import adapter

Logger = adapter().pl.loggers.logger.Logger

# what the host's methods log about classes, also where images have none
OF_LABELS = ("train_class_loss", "train_acc1", "train_acc5", "train_nn_acc")


def leave_out_classes(logger: Logger) -> None:
    """Makes a logger drop what is about classes, for images without labels."""
    log = logger.log_metrics

    def log_metrics(metrics: dict[str, float], step: int | None = None) -> None:
        log({k: v for k, v in metrics.items() if not k.startswith(OF_LABELS)}, step)

    logger.log_metrics = log_metrics


class CurvesLogger(Logger):
    """One row per logged step with the columns epoch, step and one per metric.

    The file is rewritten whole (it is small), so that it is complete whenever it is read. A resumed
    run goes on where its checkpoint was: rows of steps that will be repeated are dropped.

    Args:
        folder: the run's folder; `version` is its name, which solo-learn's Checkpointer uses.

    Attributes:
        latest: name -> value that was logged last, in the first process.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self.path = folder / "metrics.csv"
        self.rows: list[dict[str, Any]] = []
        self.latest: dict[str, float] = {}

    @property
    def name(self) -> str:
        return self.folder.parent.name

    @property
    def version(self) -> str:
        return self.folder.name

    def resume(self, step: int) -> None:
        """Takes up the rows of an interrupted run, up to `step` (optimizer steps done)."""
        if self.path.exists():
            with self.path.open(newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["step"]) < step]

    def record_epoch(self, trainer: Any) -> None:
        """Writes the values of the epoch that ends, so that a checkpoint never precedes them.

        Lightning logs them after its callbacks, to the same row.
        """
        values = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.endswith("_epoch")
        }
        if values:
            values["epoch"] = trainer.current_epoch
            self.log_metrics(values, step=trainer.global_step - 1)
            self.save()

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Settings are in `args.json`."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if adapter().pl.utilities.rank_zero_only.rank != 0:
            return
        values = dict(metrics)
        epoch = values.pop("epoch", None)
        self.latest |= values
        if not (self.rows and int(self.rows[-1]["step"]) == step):
            self.rows.append({"epoch": "", "step": step})
        if epoch is not None:
            self.rows[-1]["epoch"] = int(epoch)
        self.rows[-1].update({key: f"{value:.6g}" for key, value in values.items()})

    def save(self) -> None:
        if not self.rows or adapter().pl.utilities.rank_zero_only.rank != 0:
            return
        files.write_csv(self.path, self.rows)

    def finalize(self, status: str) -> None:
        self.save()
