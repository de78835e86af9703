"""How much a comparison has to train, and how long that takes on this machine.

An estimate is never a reason to stop: what goes wrong in it is logged.
"""

import logging
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from omegaconf import DictConfig

from solo_bayesncl.adapters.datasets import NAMED
from solo_bayesncl.comparison import jobs
from solo_bayesncl.comparison.measure import Speed, speeds_of
from solo_bayesncl.comparison.plan import Job, Plan
from solo_bayesncl.image_files import class_names, find_images
from solo_bayesncl.recipes.machine import device_list, fit_to_machine, number_of_processes

_logger = logging.getLogger(__name__)

# pixels of training images from which measuring is worth a minute or two; the demo, less than ten
# minutes on two cores, has a third of them
LONG = 1_000_000 * 32**2
# a training step of an image (two views, backward) takes about as long as six forward passes
FORWARD_PASSES = 6


@dataclass(frozen=True)
class Work:
    """What is left to do of a run; numbers of epochs and steps are 0 if only its evaluation is.

    Attributes:
        epochs, steps: of pretraining.
        probe_epochs, probe_steps: of the linear probe.
        rows: images of a step.
        validated: images that are passed through the model without training it: by validation, the
            probe and the evaluation.
        side: of the largest crop in px.
    """

    epochs: int
    steps: int
    probe_epochs: int
    probe_steps: int
    rows: int
    validated: int
    side: int

    def seconds(self, speed: Speed) -> float:
        """How long it takes; speeds that are not measured are in proportion to those that are."""
        image = speed.image
        if image is None:
            image = speed.step / self.rows / FORWARD_PASSES
        return self.steps * speed.step + self.validated * image


def log_counts(plan: Plan, here: bool = True) -> dict[Job, Work]:
    """Logs how many runs, epochs and steps are left.

    Args:
        plan: of the comparison.
        here: whether this machine is to run it.

    Returns:
        What is left of each run; nothing where the number of images is not known here.
    """
    with _errors_as_warnings():
        left = [job for job in plan.jobs if jobs.finished(job) is None]
        if not left:
            return {}
        images = _Images()
        work = {job: _work_of(job, images, here) for job in left}
        text = f"{_number(len(left), 'run')} to do"
        if len(left) < len(plan.jobs):
            text += f", {len(plan.jobs) - len(left)} of {len(plan.jobs)} are finished"
        known = None not in work.values()
        _logger.info("%s", f"{text}: {_trainings(work.values())}" if known else text)
        return work if known else {}
    return {}


def _trainings(work: Iterable[Work]) -> str:
    parts = []
    for name, prefix in (("pretraining", ""), ("linear probes", "probe_")):
        epochs, steps = (
            sum(getattr(one, prefix + unit) for one in work) for unit in ("epochs", "steps")
        )
        if epochs:
            parts.append(f"{_number(epochs, 'epoch')} ({_number(steps, 'step')}) of {name}")
    return ", ".join(parts) or "their evaluations"


def _number(of: int, what: str) -> str:
    return f"{of:,} {what}{'' if of == 1 else 's'}"


def estimate(plan: Plan) -> "TimeLeft":
    """Logs what is left to do and, of a long comparison, about how long it takes here."""
    work = log_counts(plan)
    speeds: dict[str, Speed] = {}
    with _errors_as_warnings():
        if sum(one.steps * one.rows * one.side**2 for one in work.values()) >= LONG:
            _logger.info("measuring how long a few steps of each method take ...")
            speeds = speeds_of({job.method: job for job in work if work[job].steps}.values())
            total = sum(_seconds(work, speeds).values())
            _logger.info("about %s on this machine", in_words(total / plan.n_jobs))
    return TimeLeft(_seconds(work, speeds), plan.n_jobs)


@contextmanager
def _errors_as_warnings() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        _logger.warning("how long the comparison takes could not be estimated: %s", error)


def _seconds(work: dict[Job, Work], speeds: dict[str, Speed]) -> dict[str, float]:
    """Of each run, by its name; without any speed, in proportion to what it takes."""
    steps = [speed.step for speed in speeds.values()]
    images = [speed.image for speed in speeds.values() if speed.image is not None]
    mean = Speed(fmean(steps), fmean(images) if images else None) if steps else None
    return {
        job.name: one.seconds(speeds.get((job.base or job).method) or mean or Speed(one.rows))
        for job, one in work.items()
    }


class TimeLeft:
    """Logs after each run about how long the others will take.

    Args:
        predicted: name of each run -> a number in proportion to how long it takes.
        n_jobs: how many runs are carried out at a time.
    """

    def __init__(self, predicted: dict[str, float], n_jobs: int = 1):
        self._predicted, self._n_jobs = predicted, n_jobs
        self._past, self._past_predicted = 0.0, 0.0

    def done(self, job: Job, seconds: float) -> None:
        """The run has taken so long."""
        self._past += seconds
        self._past_predicted += self._predicted.pop(job.name, 0.0)
        if self._predicted and self._past_predicted:
            speed = self._past / self._past_predicted / self._n_jobs
            _logger.info("about %s left", in_words(sum(self._predicted.values()) * speed))


def in_words(seconds: float) -> str:
    """A duration to about two digits, such as "40 seconds" or "3.2 hours"."""
    for unit, length in (("days", 24 * 3600), ("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * length:
            number = seconds / length
            return f"{number:.1f} {unit}" if number < 10 else f"{number:.0f} {unit}"
    return f"{max(10, round(seconds, -1)):.0f} seconds"


def _work_of(job: Job, images: "_Images", here: bool) -> Work | None:
    """What is left of a run, None where the number of images is not known."""
    cfg, probe = job.cfg, job.probe
    train, labelled, val = images.of(cfg)
    if train is None or labelled is None or val is None:
        return None
    rows = cfg.optimizer.batch_size * _processes(cfg, here)
    validated = labelled + val  # by the evaluation
    epochs = steps = probe_epochs = probe_steps = 0
    if job.control is None and jobs.trained(job) is None:
        epochs, steps = _epochs_and_steps(cfg, train // rows)
        validated += epochs // (cfg.get("check_val_every_n_epoch") or 1) * val
        if probe is not None:
            batches = labelled // probe.optimizer.batch_size
            probe_epochs, probe_steps = _epochs_and_steps(probe, batches)
            validated += probe_epochs * (labelled + val)
    side = max(entry.crop_size for entry in cfg.augmentations)
    return Work(epochs, steps, probe_epochs, probe_steps, rows, validated, side)


def _epochs_and_steps(cfg: DictConfig, batches: int) -> tuple[int, int]:
    """Of a training with so many batches in an epoch, as its Trainer limits them."""
    limit = cfg.get("limit_train_batches")
    if limit is not None:
        batches = int(batches * limit) if isinstance(limit, float) else min(batches, limit)
    steps = cfg.max_epochs * batches
    most = cfg.get("max_steps") or -1
    if 0 < most < steps:
        return math.ceil(most / batches), most
    return cfg.max_epochs, steps


def _processes(cfg: DictConfig, here: bool) -> int:
    fitted = cfg.copy()
    if here:
        fit_to_machine(fitted)
    else:  # whose number of GPUs, `devices: auto`, is not known: it counts as one
        fitted.devices = device_list(fitted.get("devices", 1), "cpu")
    return number_of_processes(fitted)


class _Images:
    """Numbers of images, each folder counted once."""

    def __init__(self):
        self._counted: dict[str, int | None] = {}

    def of(self, cfg: DictConfig) -> tuple[int | None, int | None, int | None]:
        """Of pretraining, of the probe and of validation, None where they are not known."""
        data = cfg.data
        if data.dataset in NAMED and NAMED[data.dataset].images:
            return NAMED[data.dataset].images
        if data.get("format") == "h5":
            return None, None, None
        train, val = self._in(data.train_path), self._in(data.val_path)
        fraction = data.get("fraction") or -1
        if train is not None and fraction > 0:
            return int(train * fraction), train, val
        return train, train, val

    def _in(self, folder: str) -> int | None:
        if folder not in self._counted:
            self._counted[folder] = None
            with suppress(OSError):  # it may be on another machine
                names = class_names(folder) or [""]  # flat, without labels
                paths = (Path(folder) / name for name in names)
                self._counted[folder] = sum(len(find_images(path)[0]) for path in paths)
        return self._counted[folder]
