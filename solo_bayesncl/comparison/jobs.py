"""Carries out the runs of a comparison, each once: pretraining, linear probe, evaluation."""

import csv
import ctypes
import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from solo_bayesncl import files, runs
from solo_bayesncl.arguments import DEBUG
from solo_bayesncl.comparison.plan import BASE, Job, Plan, options_of
from solo_bayesncl.errors import InputError, prefix_errors
from solo_bayesncl.evaluation.encoding import encode_splits
from solo_bayesncl.evaluation.record import FORMAT, write_findings
from solo_bayesncl.recipes.machine import fit_to_machine, number_of_processes
from solo_bayesncl.recipes.method_kwargs import METHODS
from solo_bayesncl.training.environment import prepare_solo_learn
from solo_bayesncl.training.linear import train_linear
from solo_bayesncl.training.pretraining import build, prepare, pretrain

RECORD = "job.json"
FINDINGS = ("evaluation.json", "dimensions.json")


def check_buildable(plan: Plan) -> None:
    """Builds each method that is not ours once, as only it knows which settings it needs.

    Raises:
        InputError: if one lacks settings, before anything is trained.
    """
    for job in {job.method: job for job in plan.jobs}.values():
        if job.cfg.method not in (*METHODS, BASE) and finished(job) is None:
            with prefix_errors(job.method):
                build(prepare(job.cfg.copy()))


def _inputs(job: Job) -> dict[str, Any]:
    """Everything that a job's numbers depend on, in JSON's own types."""
    evaluation = {k: v for k, v in job.evaluation.items() if k not in ("device", "workers")}
    for key in ("metadata", "reference_weights"):
        if key in evaluation:
            evaluation[key] = hashlib.sha256(Path(evaluation[key]).read_bytes()).hexdigest()
    inputs = {
        "pretrain": runs.comparable(OmegaConf.to_container(job.cfg, resolve=True)),
        "linear": job.probe and runs.comparable(OmegaConf.to_container(job.probe)),
        "evaluation": evaluation | {"format": FORMAT},
    }
    return json.loads(json.dumps(inputs, default=str))


def finished(job: Job) -> dict[str, Any] | None:
    """The record of a finished job, None if it is unfinished or its inputs have changed."""
    try:
        record = files.read_json(job.folder / RECORD)
    except InputError:
        return None
    if record is None or record.get("inputs") != _inputs(job):
        return None
    whole = all(
        (job.folder / name).is_file() for name in (*FINDINGS, f"{record.get('run')}/args.json")
    )
    return record if whole else None


def run(job: Job) -> None:
    """Carries out a job: pretrains (or goes on), probes, evaluates, and records that it is done.

    Raises:
        InputError: for what the job cannot use, or if another process works on it.
    """
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out={job.folder} cannot be written: {error}.") from error
    try:
        with FileLock(job.folder / ".lock", timeout=0):
            _run(job)
    except Timeout:
        raise InputError(
            f"{job.name}: another process is working on it ({job.folder}). Wait for it or end it."
        ) from None


def _run(job: Job) -> None:
    if finished(job) is not None:
        return
    # written last: it says that the other files are complete
    (job.folder / RECORD).unlink(missing_ok=True)
    folder = _pretrain(job)
    linear = _linear(job, folder)
    prepare_solo_learn()
    model = encode_splits(folder, options_of(job.evaluation))
    write_findings(model, job.folder)
    files.write_json(
        job.folder / RECORD,
        {
            "inputs": _inputs(job),
            "run": folder.relative_to(job.folder).as_posix(),
            "linear": linear,
        },
    )


def _pretrain(job: Job) -> Path:
    fitted = job.cfg.copy()
    fit_to_machine(fitted)
    if number_of_processes(fitted) == 1:
        return pretrain(job.cfg.copy())
    # Lightning starts the other processes by repeating the command line of this one
    command = [sys.executable, "-m", "solo_bayesncl", "pretrain"]
    command += ["--config-path", job.recipe_folder, "--config-name", job.recipe, *job.overrides]
    command += [argument for argument in sys.argv if argument == DEBUG]
    done = subprocess.run(command, check=False, preexec_fn=_kill_with_parent())
    if done.returncode != 0:
        raise InputError(f"Pretraining {job.name} failed: see above.")
    cfg = prepare(job.cfg.copy())
    build(cfg)  # adds the method's defaults, which a run's record has
    run_ = runs.find_resumable(cfg, cfg.method)
    if run_ is None:
        raise InputError(f"The run of {job.name} is not in {job.folder}, where it was written to.")
    return run_.folder


def _kill_with_parent() -> Callable[[], None] | None:
    """On Linux, ends the training with a killed comparison: a new one uses the same folder."""
    if sys.platform != "linux":
        return None
    prctl, set_parent_death_signal = ctypes.CDLL(None).prctl, 1
    return lambda: prctl(set_parent_death_signal, signal.SIGKILL)


def _linear(job: Job, folder: Path) -> dict[str, float]:
    """Accuracies in percent of solo-learn's linear probe on the backbone."""
    if job.probe is None:
        return {}
    probe = job.probe.copy()
    probe.pretrained_feature_extractor = str(folder)
    with prefix_errors("linear"):
        run = train_linear(probe)
        with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row.get("val_acc1")]
        if not rows:
            raise InputError(
                "the probe was never validated: its check_val_every_n_epoch is larger than its "
                "max_epochs."
            )
    return {
        "linear_backbone": float(rows[-1]["val_acc1"]),
        "linear_backbone_top5": float(rows[-1]["val_acc5"]),
    }
