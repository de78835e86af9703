"""Training curves: `metrics.csv`, TensorBoard or Weights & Biases, and the progress bar."""

import csv
import io
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from solo_bayesncl import files
from solo_bayesncl.adapters import adapter
from solo_bayesncl.errors import InputError
from solo_bayesncl.files import WriteError
from solo_bayesncl.training.run_folder import CURVES, RunFolder

_loggers = adapter().pl.loggers

# logged by solo-learn's methods about classes, even where images have none
CLASS_METRICS = ("train_class_loss", "train_acc1", "train_acc5", "train_nn_acc")


class CurvesLogger(_loggers.CSVLogger):
    """Lightning's `CSVLogger` with one row per step that survives interruptions.

    Lightning logs a step in several parts, which here share a row: columns `epoch`, `step` and one
    per metric. Rows are appended. A resumed run continues the file where its checkpoint was.

    Args:
        folder: the run's; solo-learn's Checkpointer takes its name from `version`.

    Attributes:
        latest: name -> value that was logged last.
    """

    def __init__(self, folder: Path):
        super().__init__(folder.parent.parent, name=folder.parent.name, version=folder.name)
        self.latest: dict[str, float] = {}
        self._rows = _Rows(folder / CURVES)

    @property
    def experiment(self) -> "_Rows":
        """What `CSVLogger` logs to."""
        return self._rows

    def record_epoch(self, trainer: Any) -> None:
        """Writes the values of the epoch that ends, so that a checkpoint never precedes them.

        Lightning logs them after its callbacks, to the same row.
        """
        # what Lightning is about to log; its public properties also hold values of earlier epochs
        logged = trainer._logger_connector.metrics["log"]
        values = {name: float(value) for name, value in logged.items()}
        if values:
            values["epoch"] = trainer.current_epoch
            self.log_metrics(values, step=trainer.global_step - 1)
            self.save()

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Does nothing: settings are in `args.json`."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """As Lightning's; keeps the values for the progress bar."""
        self.latest |= metrics
        super().log_metrics(metrics, step)

    def finalize(self, status: str) -> None:
        """Writes what is left."""
        self.save()


class _Rows:
    """Rows of a CSV file, appended. The last one stays open for more values of its step."""

    def __init__(self, path: Path):
        self.path = path
        self.columns = ["epoch", "step"]
        self.rows: list[dict[str, Any]] = []  # not in the file, or the open one
        self.end = 0  # of the complete rows in the file, in bytes

    def resume(self, step: int) -> None:
        """Continues the file of an interrupted run: keeps its rows before `step`."""
        if self.path.exists():
            whole, _, _ = self.path.read_text(encoding="utf-8").rpartition("\n")
            reader = csv.DictReader(io.StringIO(whole))
            steps = ((row, row["step"] or "") for row in reader)  # a damaged row has none
            self.rows = [row for row, own in steps if own.isdecimal() and int(own) < step]
            self.columns = list(reader.fieldnames or self.columns)

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Adds values to the row of a step, which Lightning always gives."""
        values = dict(metrics)
        epoch = values.pop("epoch", None)
        if not (self.rows and int(self.rows[-1]["step"]) == step):
            self.rows.append({"step": step})
        if epoch is not None:
            self.rows[-1]["epoch"] = int(epoch)
        self.rows[-1].update({name: f"{float(value):.6g}" for name, value in values.items()})

    def save(self) -> None:
        """Appends what is new; writes the whole file only if a column is new."""
        if not self.rows:
            return
        new = [name for row in self.rows for name in row if name not in self.columns]
        appendable = self.end > 0 and self.path.exists()
        if new or not appendable:
            complete = [*(self._read() if appendable else []), *self.rows[:-1]]
            self.columns += dict.fromkeys(new)
            written = self._text([dict(zip(self.columns, self.columns, strict=True)), *complete])
            files.write_bytes(self.path, written + self._text(self.rows[-1:]))
            self.end = len(written)
        else:
            complete = self._text(self.rows[:-1])
            with self.path.open("r+b") as file:
                file.seek(self.end)
                file.write(complete + self._text(self.rows[-1:]))
                file.truncate()
                files.flush(file)
            self.end += len(complete)
        self.rows = self.rows[-1:]

    def _read(self) -> list[dict[str, Any]]:
        text = self.path.read_bytes()[: self.end].decode()
        return list(csv.DictReader(io.StringIO(text, newline="")))

    def _text(self, rows: Iterable[dict[str, Any]]) -> bytes:
        text = io.StringIO()
        csv.DictWriter(text, self.columns, lineterminator="\n").writerows(rows)
        return text.getvalue().encode()


class LossProgressBar(adapter().pl.callbacks.TQDMProgressBar):
    """Progress bar with the loss terms that a `CurvesLogger`, the first logger, logged last.

    Lightning reads what is logged with `prog_bar=True` from the GPU each time that it draws the
    bar: it would wait for the GPU at every step.
    """

    def get_metrics(self, trainer: Any, pl_module: Any) -> dict[str, str]:
        """Name without `_step` -> value, in nats."""
        return {
            name.removesuffix("_step"): f"{value:.3g}"
            for name, value in trainer.loggers[0].latest.items()
            if name.endswith("_loss_step")
        }


def make_loggers(cfg: DictConfig, folder: RunFolder) -> list:
    """The curves' logger, then Weights & Biases' or TensorBoard's.

    Args:
        cfg: settings with solo-learn's defaults.
        folder: the run's.

    Raises:
        InputError: if Weights & Biases is enabled but not installed.
    """
    curves = CurvesLogger(folder.path)
    if folder.continues:
        curves.experiment.resume(folder.step)
    if cfg.wandb.enabled:
        other, written = _wandb_logger(cfg, folder), "What Weights & Biases records"
    else:
        written = f"The TensorBoard file in {folder.path}"
        other = _loggers.TensorBoardLogger(
            cfg.checkpoint.dir,
            name=folder.path.parent.name,
            version=folder.path.name,
            default_hp_metric=False,
        )
    if cfg.data.get("no_labels", False):
        for logger in (curves, other):
            leave_out_class_metrics(logger)
    name_write_errors(curves, folder.path / CURVES)
    name_write_errors(other, written)
    return [curves, other]


def name_write_errors(logger: Any, written: str | Path) -> None:
    """Makes a logger raise `WriteError` where it cannot write, once: not after training failed."""
    for name in ("log_metrics", "save"):
        setattr(logger, name, files.writing(written)(getattr(logger, name)))
    finish = logger.finalize

    def finalize(status: str) -> None:
        failed = status == "failed"
        with suppress(OSError, WriteError) if failed else files.writing(written):
            finish(status)

    logger.finalize = finalize


@contextmanager
def quiet_writers() -> Iterator[None]:
    """While open, TensorBoard's thread prints no traceback of what its logger raises again."""
    report = threading.excepthook

    def report_others(args: threading.ExceptHookArgs) -> None:
        writer = type(args.thread).__module__.startswith("tensorboard.")
        if not (writer and isinstance(args.exc_value, OSError)):
            report(args)

    threading.excepthook = report_others
    try:
        yield
    finally:
        threading.excepthook = report


def leave_out_class_metrics(logger: Any) -> None:
    """Makes a logger drop `CLASS_METRICS`, for images without labels."""
    log = logger.log_metrics

    def log_metrics(metrics: dict[str, float], step: int | None = None) -> None:
        log({k: v for k, v in metrics.items() if not k.startswith(CLASS_METRICS)}, step)

    logger.log_metrics = log_metrics


def _wandb_logger(cfg: DictConfig, folder: RunFolder) -> Any:
    try:
        import wandb
    except ImportError as error:
        raise InputError(
            "wandb.enabled=True, but wandb is not installed: `pip install wandb`, or set "
            "wandb.enabled=False (curves then go to metrics.csv and TensorBoard)."
        ) from error
    try:
        logger = _loggers.WandbLogger(
            name=cfg.name,
            project=cfg.wandb.project,
            entity=None if cfg.wandb.entity == "None" else cfg.wandb.entity,
            offline=cfg.wandb.offline,
            resume="allow" if folder.continues else None,
            id=folder.path.name,  # the same on all ranks; wandb's own is known on rank zero only
        )
        logger.log_hyperparams(OmegaConf.to_container(cfg))
    except wandb.Error as error:
        raise InputError(
            f"wandb.enabled=True, but Weights & Biases cannot be used: {error} Or set "
            "wandb.offline=True, or wandb.enabled=False."
        ) from error
    return logger
