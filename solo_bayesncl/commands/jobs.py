"""The runs of a comparison: what each consists of, whether it is finished, and carrying it out."""

import csv
import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from solo_bayesncl import config, files, runs
from solo_bayesncl.commands import evaluate, explain
from solo_bayesncl.commands.recipes import compose_recipe, find_folder
from solo_bayesncl.errors import InputError
from solo_bayesncl.options import Options

KEYS = (
    "methods", "seeds", "out", "recipes", "pretrain", "linear", "variants", "overrides",
    "linear_overrides", "evaluation", "job", "typed", "typed_linear", "hydra",
)  # fmt: skip
EVALUATION_KEYS = ("metadata", "reference", "reference_weights", "device", "workers")
# keys of a recipe that a comparison decides, and what to give instead
OURS = {
    "seed": "Give seeds=[...].",
    "checkpoint.dir": "Give out=DIR.",
    "resume_from_checkpoint": "It continues what is unfinished by itself.",
}
# the recipe of methods that have none of their own
BASE = "simclr"
RECORD = "job.json"


@dataclass(frozen=True, eq=False)
class Job:
    """One method at one seed.

    Attributes:
        method: its name in the comparison.
        seed: of everything that is random.
        folder: holds the pretraining run, the probe's and `job.json`.
        recipe_folder, recipe, overrides: what would be typed behind `pretrain`.
        cfg: the recipe as composed.
        probe: the recipe of the linear probe, None without one.
    """

    method: str
    seed: int
    folder: Path
    recipe_folder: str
    recipe: str
    overrides: tuple[str, ...]
    cfg: DictConfig
    probe: DictConfig | None


@dataclass(frozen=True)
class Plan:
    """A comparison.

    Attributes:
        methods, seeds: what is compared.
        out: where everything is written.
        jobs: every method at every seed.
        chosen: those to carry out: all, or the one that `job` names.
        evaluation: options of the evaluation.
    """

    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    out: Path
    jobs: tuple[Job, ...]
    chosen: tuple[Job, ...]
    evaluation: dict[str, Any]

    @classmethod
    def of(cls, cfg: DictConfig) -> "Plan":
        """From a comparison's configuration, with every recipe composed and checked.

        Raises:
            InputError: for anything that could not run, before anything does.
        """
        unknown = [key for key in cfg if key not in KEYS]
        if unknown:
            raise InputError(
                f"{unknown[0]}={cfg[unknown[0]]!r} is not a key of a comparison. They are: "
                f"{', '.join(KEYS)}. What belongs to every recipe goes into `overrides`."
            )
        methods = _listed(cfg, "methods", str, "names, e.g. [simclr,ncl,bayesncl]")
        for method in methods:
            if not all(c.isalnum() or c in "._-" for c in method):
                raise InputError(f"methods: {method!r} cannot be a folder's name: use letters.")
        seeds = _listed(cfg, "seeds", int, "integers of at least 0, e.g. [0,1,2]")
        if min(seeds) < 0:
            raise InputError(f"seeds={list(seeds)}: give integers of at least 0.")
        if not isinstance(cfg.get("out"), str):
            raise InputError(f"out={cfg.get('out')!r}: give the folder to write to.")
        out = Path(cfg.out)
        made = tuple(_job(cfg, out, method, seed) for method in methods for seed in seeds)
        plan = cls(methods, seeds, out, made, made, _evaluation(cfg))
        only = cfg.get("job") or {}
        if only.get("method") is None and only.get("seed") is None:
            return plan
        return replace(plan, chosen=(plan.job(only.get("method"), only.get("seed")),))

    def job(self, method: str, seed: int) -> Job:
        """One of the jobs; raises `InputError` if there is none of that name and seed."""
        for job in self.jobs:
            if (job.method, job.seed) == (method, seed):
                return job
        raise InputError(
            f"job.method={method} job.seed={seed}: give one of methods={list(self.methods)} and "
            f"one of seeds={list(self.seeds)}."
        )


def _listed(cfg: DictConfig, key: str, kind: type, accepted: str) -> tuple:
    values = cfg.get(key)
    if isinstance(values, kind) and not isinstance(values, bool):
        values = [values]
    is_list = isinstance(values, list | ListConfig) and len(values) > 0
    if not is_list or not all(isinstance(v, kind) and not isinstance(v, bool) for v in values):
        raise InputError(f"{key}={values!r}: give a list of {accepted}.")
    if len(set(values)) < len(values):
        raise InputError(f"{key}={list(values)}: one is named twice.")
    return tuple(values)


def _evaluation(cfg: DictConfig) -> dict[str, Any]:
    """Options of the evaluation as plain values."""
    given = OmegaConf.to_container(cfg.get("evaluation") or OmegaConf.create({}))
    for key in given:
        if key not in EVALUATION_KEYS:
            raise InputError(
                f"evaluation.{key} is not known. Its keys are: {', '.join(EVALUATION_KEYS)}."
            )
    given = {key: value for key, value in given.items() if value is not None}
    _ = _options(given).torch_device
    return given


def _job(cfg: DictConfig, out: Path, method: str, seed: int) -> Job:
    folder = out / "runs" / method / f"seed-{seed}"
    recipe, overrides = _recipe(cfg, method)
    overrides = (*_strings(cfg, "overrides"), *overrides, *_strings(cfg, "typed"))
    for override in overrides:
        key = override.partition("=")[0].lstrip("+")
        if key in OURS:
            raise InputError(f"{override}: a comparison sets {key} itself. {OURS[key]}")
    overrides += (f"seed={seed}", f"checkpoint.dir={folder}", "++auto_resume.enabled=True")
    composed = compose_recipe(cfg.pretrain, recipe, list(overrides))
    try:
        config.check_pretrain(composed.copy())
        if composed.data.get("no_labels") or composed.data.get("val_path") is None:
            raise InputError(
                "data.val_path=null or data.no_labels=True: a comparison measures labelled "
                "validation images. Give data.val_path, a folder per class in it."
            )
    except InputError as error:
        raise InputError(f"{method}: {error}") from error
    return Job(method, seed, folder, cfg.pretrain, recipe, overrides, composed,
               _probe(cfg, composed, recipe, folder))  # fmt: skip


def _recipe(cfg: DictConfig, method: str) -> tuple[str, tuple[str, ...]]:
    """(recipe, overrides) of a method's name."""
    variants = cfg.get("variants") or {}
    if method in variants:
        variant = variants[method]
        if not OmegaConf.is_dict(variant) or not isinstance(variant.get("recipe"), str):
            raise InputError(f"variants.{method}: give recipe: NAME and overrides: [key=value].")
        return variant.recipe, _strings(variant, "overrides", f"variants.{method}.overrides")
    recipes = sorted(path.stem for path in find_folder(cfg.pretrain).glob("*.yaml"))
    if method in recipes:
        return method, ()
    import solo_bayesncl
    from solo_bayesncl.hosts import host

    solo_bayesncl.register()
    if method in host().method_names():
        return BASE, (f"method={method}", f"name={method}")
    raise InputError(
        f"methods: {method!r} is not known. Choose a variant ({', '.join(variants) or 'none'}), a "
        f"recipe of pretrain={cfg.pretrain} ({', '.join(recipes)}) or a method of {host().NAME} "
        f"({', '.join(host().method_names())})."
    )


def _strings(cfg: DictConfig, key: str, name: str | None = None) -> tuple[str, ...]:
    values = cfg.get(key)
    values = [] if values is None else values
    if not isinstance(values, list | ListConfig) or not all(isinstance(v, str) for v in values):
        raise InputError(f"{name or key}={values!r}: give a list of overrides, [key=value,...].")
    return tuple(values)


def _probe(cfg: DictConfig, pretraining: DictConfig, recipe: str, folder: Path):
    """The probe's recipe on the data, backbone and seed of a pretraining recipe."""
    if cfg.get("linear") is None:
        return None
    names = {path.stem for path in find_folder(cfg.linear).glob("*.yaml")}
    overrides = [*_strings(cfg, "linear_overrides"), *_strings(cfg, "typed_linear")]
    required = ("data.train_path", "data.val_path", "pretrained_feature_extractor")
    probe = compose_recipe(
        cfg.linear,
        recipe if recipe in names else BASE,
        [*(f"{key}=-" for key in required), *overrides],
    )
    with open_dict(probe):
        for key in ("dataset", "train_path", "val_path", "format", "num_workers"):
            if key in pretraining.data:
                probe.data[key] = pretraining.data[key]
        probe.backbone = pretraining.backbone
        probe.data.augmentations.crop_size = pretraining.augmentations[0].crop_size
        for key in ("mean", "std"):
            if key in pretraining.augmentations[0]:
                probe.data.augmentations[key] = pretraining.augmentations[0][key]
        probe.pretrain_method = pretraining.method
        probe.seed = pretraining.seed
        probe.devices, probe.accelerator = 1, pretraining.get("accelerator", "auto")
        probe.auto_resume = {"enabled": True}
        probe.checkpoint.dir = str(folder)
    config.check_linear(probe.copy())
    return probe


def _inputs(job: Job, evaluation: dict[str, Any]) -> dict[str, Any]:
    """Everything that a job's numbers depend on, in JSON's own types."""
    return json.loads(json.dumps({
        "pretrain": runs.comparable(OmegaConf.to_container(job.cfg, resolve=True)),
        "linear": job.probe and runs.comparable(OmegaConf.to_container(job.probe)),
        "evaluation": evaluation | {"format": evaluate.FORMAT},
    }, default=str))  # fmt: skip


def finished(job: Job, evaluation: dict[str, Any]) -> dict[str, Any] | None:
    """The record of a finished job, None if it is not or was another one."""
    try:
        record = json.loads((job.folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("inputs") != _inputs(job, evaluation):
        return None
    needed = ("evaluation.json", "dimensions.json")
    return record if all((job.folder / record["run"] / name).is_file() for name in needed) else None


def require_finished(job: Job, evaluation: dict[str, Any]) -> dict[str, Any]:
    """The record of a job; raises `InputError` if it is not finished."""
    record = finished(job, evaluation)
    if record is None:
        raise InputError(f"The run of {job.method}, seed {job.seed}, is not finished: see above.")
    return record


def run(job: Job, evaluation: dict[str, Any]) -> None:
    """Carries out a job: pretrains (or goes on), probes, evaluates, and records that it is done."""
    if finished(job, evaluation) is not None:
        return
    folder = _pretrain(job)
    linear = _linear(job, folder)
    subject = evaluate.examine(folder, _options(evaluation))
    explain.write_findings(subject, folder)
    files.write_json(
        job.folder / RECORD,
        {
            "inputs": _inputs(job, evaluation),
            "run": folder.relative_to(job.folder).as_posix(),
            "linear": linear,
        },
    )


def _pretrain(job: Job) -> Path:
    from solo_bayesncl.commands.pretrain import pretrain

    fitted = job.cfg.copy()
    config.fit_to_machine(fitted)
    if len(fitted.devices) * (fitted.get("num_nodes") or 1) == 1:
        return pretrain(job.cfg.copy())
    # Lightning starts the other processes by repeating the command line of this one
    command = [sys.executable, "-m", "solo_bayesncl", "pretrain"]
    command += ["--config-path", job.recipe_folder, "--config-name", job.recipe, *job.overrides]
    done = subprocess.run(command, check=False)
    if done.returncode != 0:
        raise InputError(f"Pretraining {job.method}, seed {job.seed}, failed: see above.")
    newest = max(job.folder.glob(f"{job.cfg.method}/*/*.ckpt"), key=lambda p: p.stat().st_mtime)
    return newest.parent


def _linear(job: Job, folder: Path) -> dict[str, float]:
    """Accuracies in percent of the host's linear probe on the backbone."""
    from solo_bayesncl.commands.linear import train_linear

    if job.probe is None:
        return {}
    probe = job.probe.copy()
    probe.pretrained_feature_extractor = str(folder)
    with (train_linear(probe) / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("val_acc1")]
    return {
        "linear_backbone": float(rows[-1]["val_acc1"]),
        "linear_backbone_top5": float(rows[-1]["val_acc5"]),
    }


def _options(evaluation: dict[str, Any]) -> Options:
    paths = {
        key: Path(evaluation[key]) for key in ("metadata", "reference_weights") if key in evaluation
    }
    return Options(**(evaluation | paths))


def evaluation_of(job: Job, record: dict[str, Any]) -> dict[str, Any]:
    """A finished job's evaluation with the accuracies of its probe."""
    path = job.folder / record["run"] / "evaluation.json"
    evaluation = json.loads(path.read_text(encoding="utf-8"))
    evaluation["accuracy"] |= record["linear"]
    return evaluation
