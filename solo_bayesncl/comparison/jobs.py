"""Carries out the runs of a comparison, each once: pretraining, linear probe, evaluation."""

import csv
import hashlib
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from solo_bayesncl import files, runs
from solo_bayesncl.arguments import DEBUG
from solo_bayesncl.comparison.plan import BASE, Job, Plan, options_of
from solo_bayesncl.errors import InputError, prefix_arguments, prefix_errors
from solo_bayesncl.evaluation.controls import fit_control
from solo_bayesncl.evaluation.encoding import encode_splits
from solo_bayesncl.evaluation.evaluated_model import EvaluatedModel
from solo_bayesncl.evaluation.explanation import DIMENSIONS
from solo_bayesncl.evaluation.record import FORMAT, Findings
from solo_bayesncl.locks import locked
from solo_bayesncl.outputs import cannot_be_written, write_together
from solo_bayesncl.recipes.machine import fit_to_machine, number_of_processes
from solo_bayesncl.recipes.method_kwargs import METHODS
from solo_bayesncl.recipes.paths import with_resolved_paths
from solo_bayesncl.signals import kill_with_parent
from solo_bayesncl.training.environment import prepare_solo_learn
from solo_bayesncl.training.linear import train_linear
from solo_bayesncl.training.pretraining import build, prepare, pretrain

RECORD = "job.json"
FINDINGS = ("evaluation.json", "dimensions.json")
SETTINGS = "args.json"


def check_buildable(plan: Plan) -> None:
    """Builds each method that is not ours once, as only it knows which settings it needs.

    Raises:
        InputError: if one lacks settings, before anything is trained.
    """
    for job in {job.method: job for job in plan.jobs if job.control is None}.values():
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
    for key, default in (("on_corrupt", "stop"), ("max_image_pixels", None)):
        if (value := job.cfg.data.get(key)) not in (None, default):
            inputs["pretrain"]["data"][key] = value
    if job.control is not None:
        base = trained(job.base) or {}
        inputs["control"] = job.control | {"run": base.get("run")}
    return _resolved(json.loads(json.dumps(inputs, default=str)))


def _resolved(inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs that are equal however their paths are written."""
    return {
        part: with_resolved_paths(settings) if isinstance(settings, dict) else settings
        for part, settings in inputs.items()
    }


def finished(job: Job) -> dict[str, Any] | None:
    """The record of a finished job, None if it is unfinished or its inputs have changed."""
    record = trained(job)
    if record is None or _resolved(record["inputs"]) != _inputs(job):
        return None
    whole = all((job.folder / name).is_file() for name in FINDINGS)
    return record if whole else None


def trained(job: Job) -> dict[str, Any] | None:
    """The record of a job whose training and probe are done, None if their inputs have changed."""
    try:
        record = files.read_json(job.folder / RECORD) or {}
    except InputError:
        return None
    recorded, inputs = _resolved(record.get("inputs") or {}), _inputs(job)
    parts = ("pretrain", "linear", "control")  # a method can have the name of an earlier control
    same = all(recorded.get(part) == inputs.get(part) for part in parts)
    return record if same and (job.folder / f"{record.get('run')}/{SETTINGS}").is_file() else None


def run(job: Job) -> None:
    """Carries out a job: pretrains (or goes on), probes, evaluates, and records that it is done.

    Raises:
        InputError: for what the job cannot use, or if another process works on it.
    """
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_be_written("out", job.folder, error) from error
    with ExitStack() as held:
        with prefix_errors(job.name):
            held.enter_context(locked(job.folder))
        if finished(job) is None:
            (_run if job.control is None else _run_control)(job)


def _run(job: Job) -> None:
    # written after what it says is complete: training and probe, then the evaluation, too
    record = trained(job)
    if record is None:
        (job.folder / RECORD).unlink(missing_ok=True)
        folder = _pretrain(job)
        linear = _linear(job, folder)
        record = {"run": folder.relative_to(job.folder).as_posix(), "linear": linear}
    inputs = _inputs(job)
    of_training = {part: inputs[part] for part in ("pretrain", "linear")}
    _write_record(job, record | {"inputs": of_training})
    with prefix_arguments("evaluation."):
        findings = Findings.of(_encode(job, record))
    _write(job, findings)
    _write_record(job, record | {"inputs": inputs})


def _run_control(job: Job) -> None:
    base = trained(job.base)
    if base is None:
        raise InputError(
            f"{job.name} is fitted to {job.base.name}, which is not trained: first run "
            f"job.method={job.base.method} job.seed={job.seed}."
        )
    (job.folder / RECORD).unlink(missing_ok=True)
    inputs = _inputs(job)
    with prefix_arguments("evaluation."):
        model = fit_control(_encode(job.base, base), job.method, job.seed, **job.control)
        findings = Findings.of(model)
    settings = OmegaConf.to_container(model.run.cfg, resolve=True)
    _write(job, findings, settings | {"name": job.method, "control": job.control})
    _write_record(job, {"run": ".", "linear": {}, "inputs": inputs})


def _encode(job: Job, record: dict[str, Any]) -> EvaluatedModel:
    prepare_solo_learn()
    return encode_splits(job.folder / record["run"], options_of(job.evaluation))


def _write(job: Job, findings: Findings, settings: dict[str, Any] | None = None) -> None:
    try:
        with write_together(job.folder, record=DIMENSIONS) as together:
            findings.write(together)
            if settings is not None:
                files.write_json(together / SETTINGS, settings)
    except OSError as error:
        raise cannot_be_written("out", job.folder, error) from error


def _write_record(job: Job, record: dict[str, Any]) -> None:
    try:
        files.write_json(job.folder / RECORD, record)
    except OSError as error:
        raise cannot_be_written("out", job.folder, error) from error


def _pretrain(job: Job) -> Path:
    fitted = job.cfg.copy()
    fit_to_machine(fitted)
    if number_of_processes(fitted) == 1:
        return pretrain(job.cfg.copy())
    # Lightning starts the other processes by repeating the command line of this one
    command = [sys.executable, "-m", "solo_bayesncl", "pretrain"]
    command += ["--config-path", job.recipe_folder, "--config-name", job.recipe, *job.overrides]
    command += [argument for argument in sys.argv if argument == DEBUG]
    # a new comparison uses the same folder as a killed one
    done = subprocess.run(command, check=False, preexec_fn=kill_with_parent())
    if done.returncode != 0:
        raise InputError(f"Pretraining {job.name} failed: see above.")
    cfg = prepare(job.cfg.copy())
    build(cfg)  # adds the method's defaults, which a run's record has
    run_ = runs.find_resumable(cfg, cfg.method)
    if run_ is None:
        raise InputError(f"The run of {job.name} is not in {job.folder}, where it was written to.")
    return run_.folder


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
