"""The runs of a comparison: what each consists of, whether it is finished, and carrying it out."""

import csv
import ctypes
import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from solo_bayesncl import files, recipes
from solo_bayesncl.commands import evaluate, explain
from solo_bayesncl.errors import InputError
from solo_bayesncl.evaluation.options import Options
from solo_bayesncl.recipes.compose import compose_recipe, find_folder
from solo_bayesncl.runs import run as runs

KEYS = (
    "methods", "seeds", "out", "recipes", "pretrain", "linear", "variants", "overrides",
    "linear_overrides", "evaluation", "job", "typed", "typed_linear", "hydra",
)  # fmt: skip
EVALUATION_KEYS = (
    "metadata", "reference", "reference_weights", "device", "precision", "workers",
)  # fmt: skip
# keys of a recipe that a comparison decides, and what to give instead
OURS = {
    "seed": "Give seeds=[...].",
    "checkpoint.dir": "Give out=DIR.",
    "checkpoint.enabled": "It needs the checkpoints.",
    "resume_from_checkpoint": "It continues what is unfinished by itself.",
}
_PRETRAINING = "It is that of the pretraining."
OURS_OF_PROBE = {
    **OURS,
    "devices": "A probe runs in one process.",
    "pretrained_feature_extractor": "It is the run that was just pretrained.",
    "data.train_path": _PRETRAINING,
    "data.val_path": _PRETRAINING,
    "data.dataset": _PRETRAINING,
    "data.augmentations.crop_size": _PRETRAINING,
    "backbone.name": _PRETRAINING,
}
# the recipe of methods that have none of their own
BASE = "simclr"
RECORD = "job.json"
FINDINGS = ("evaluation.json", "dimensions.json")


@dataclass(frozen=True, eq=False)
class Job:
    """One method at one seed.

    Attributes:
        method: its name in the comparison.
        seed: of everything that is random.
        folder: holds the pretraining run, the probe's, the findings and `job.json`.
        recipe_folder, recipe, overrides: what would be typed behind `pretrain`.
        cfg: the recipe as composed.
        probe: the recipe of the linear probe, None without one.
        evaluation: options of the evaluation that were given.
    """

    method: str
    seed: int
    folder: Path
    recipe_folder: str
    recipe: str
    overrides: tuple[str, ...]
    cfg: DictConfig
    probe: DictConfig | None
    evaluation: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.method}, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """A comparison.

    Attributes:
        methods, seeds: what is compared; seeds ascend.
        out: where everything is written.
        jobs: every method at every seed, or the one that `job` names.
        single: whether `job` names one.
    """

    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    out: Path
    jobs: tuple[Job, ...]
    single: bool

    @classmethod
    def of(cls, cfg: DictConfig, here: bool = True) -> "Plan":
        """From a comparison's configuration, with every recipe composed and checked.

        Args:
            cfg: what the YAML file and the command line say.
            here: whether this machine is to run it. If not, what depends on the machine is left to
                the one that does.

        Raises:
            InputError: for a key or value that cannot be used, before anything runs.
        """
        unknown = [key for key in cfg if key not in KEYS]
        if unknown:
            raise InputError(
                f"{unknown[0]}={cfg[unknown[0]]!r} is not a key of a comparison. They are: "
                f"{', '.join(KEYS)}. What belongs to every recipe goes into `overrides`."
            )
        methods = _list(cfg, "methods", str, "a list of names, e.g. [simclr,ncl,bayesncl]")
        for method in methods:
            if not all(c.isalnum() or c in "._-" for c in method):
                raise InputError(f"methods: {method!r} cannot be a folder's name: use letters.")
        seeds = _list(cfg, "seeds", int, "a list of integers, e.g. [0,1,2]")
        for seed in seeds:
            if not 0 <= seed <= recipes.MAX_SEED:
                raise InputError(f"seeds: {seed}: give integers from 0 to {recipes.MAX_SEED}.")
        out = Path(_text(cfg, "out", "the folder to write to"))
        chosen = _chosen(cfg, methods, seeds)
        pairs = [chosen] if chosen else [(m, s) for m in methods for s in sorted(seeds)]
        evaluation = _evaluation(cfg, here)
        made = tuple(_job(cfg, out, *pair, evaluation, here) for pair in pairs)
        return cls(methods, tuple(sorted(seeds)), out, made, single=chosen is not None)

    def job(self, method: str, seed: int) -> Job:
        """The job of a method at a seed."""
        return next(job for job in self.jobs if (job.method, job.seed) == (method, seed))


def _list(cfg: DictConfig, key: str, kind: type, accepted: str) -> tuple:
    values = cfg.get(key)
    if isinstance(values, kind) and not isinstance(values, bool):
        values = [values]
    is_list = isinstance(values, list | ListConfig) and len(values) > 0
    if not is_list or not all(isinstance(v, kind) and not isinstance(v, bool) for v in values):
        raise InputError(f"{key}={values!r}: give {accepted}.")
    if len(set(values)) < len(values):
        raise InputError(f"{key}={list(values)}: one is named twice.")
    return tuple(values)


def _text(cfg: DictConfig, key: str, accepted: str) -> str:
    value = cfg.get(key)
    if not isinstance(value, str):
        raise InputError(
            f"{key}={value!r}: give {accepted}. (A file of your own begins with "
            "`defaults: [methods, _self_]`, which has all keys.)"
        )
    return value


def _section(cfg: DictConfig, key: str, accepted: str) -> dict[str, Any]:
    value = cfg.get(key)
    if value is None:
        return {}
    if not OmegaConf.is_dict(value):
        raise InputError(f"{key}={value!r}: give a section with {accepted}.")
    return OmegaConf.to_container(value)


def _chosen(cfg: DictConfig, methods: tuple, seeds: tuple) -> tuple[str, int] | None:
    """The one run that `job` names, if it does."""
    job = _section(cfg, "job", "method and seed")
    pair = (job.get("method"), job.get("seed"))
    if pair == (None, None):
        return None
    if pair[0] not in methods or pair[1] not in seeds:
        raise InputError(
            f"job.method={pair[0]} job.seed={pair[1]}: give one of methods={list(methods)} and "
            f"one of seeds={list(seeds)}."
        )
    return pair


def _evaluation(cfg: DictConfig, here: bool) -> dict[str, Any]:
    """Options of the evaluation that were given, as plain values."""
    given = _section(cfg, "evaluation", ", ".join(EVALUATION_KEYS))
    given = {key: value for key, value in given.items() if value is not None}
    for key, value in given.items():
        if key not in EVALUATION_KEYS:
            raise InputError(
                f"evaluation.{key} is not known. Its keys are: {', '.join(EVALUATION_KEYS)}."
            )
        kind, words = (int, "an integer") if key == "workers" else (str, "text")
        if not isinstance(value, kind) or isinstance(value, bool):
            raise InputError(f"evaluation.{key}={value!r}: give {words}.")
    options = _options(given)
    if here:
        _ = options.torch_device
    return given


def _options(evaluation: dict[str, Any]) -> Options:
    paths = {
        key: Path(evaluation[key]) for key in ("metadata", "reference_weights") if key in evaluation
    }
    return Options(**(evaluation | paths))


def _job(
    cfg: DictConfig, out: Path, method: str, seed: int, evaluation: dict[str, Any], here: bool
) -> Job:
    folder = out / "runs" / method / f"seed-{seed}"
    recipe_folder = _text(cfg, "pretrain", "a folder of recipes")
    recipe, overrides = _recipe(cfg, recipe_folder, method)
    overrides = (*_strings(cfg, "overrides"), *overrides, *_strings(cfg, "typed"))
    _refuse(overrides, OURS)
    overrides += (
        f"++seed={seed}",
        f"++checkpoint.dir={folder}",
        "++checkpoint.enabled=True",
        "++auto_resume.enabled=True",
    )
    composed = compose_recipe(recipe_folder, recipe, list(overrides))
    with _told_of(method):
        if here:
            recipes.check_pretrain(composed.copy())
        if composed.data.get("no_labels") or composed.data.get("val_path") is None:
            raise InputError(
                "data.val_path=null or data.no_labels=True: a comparison measures labelled "
                "validation images. Give data.val_path, a folder per class in it."
            )
    probe = _probe(cfg, composed, recipe, folder, here)
    return Job(method, seed, folder, recipe_folder, recipe, overrides, composed, probe, evaluation)


@contextmanager
def _told_of(what: str) -> Iterator[None]:
    """Says in a message what it is about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{what}: {error}") from error


def _refuse(overrides: tuple[str, ...], ours: dict[str, str], prefix: str = "") -> None:
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~")
        if key in ours:
            raise InputError(f"{prefix}{override}: a comparison sets {key} itself. {ours[key]}")


def _recipe(cfg: DictConfig, folder: str, method: str) -> tuple[str, tuple[str, ...]]:
    """(recipe, overrides) of a method's name."""
    variants = _section(cfg, "variants", "a recipe and overrides under each name")
    if method in variants:
        variant = variants[method]
        if not isinstance(variant, dict) or not isinstance(variant.get("recipe"), str):
            raise InputError(f"variants.{method}: give recipe: NAME and overrides: [key=value].")
        return variant["recipe"], _strings(variant, "overrides", f"variants.{method}.overrides")
    recipes = sorted(path.stem for path in find_folder(folder).glob("*.yaml"))
    if method in recipes:
        return method, ()
    import solo_bayesncl
    from solo_bayesncl.adapters import adapter

    solo_bayesncl.register()
    if method in adapter().method_names():
        return BASE, (f"method={method}", f"name={method}")
    raise InputError(
        f"methods: {method!r} is not known. Choose a variant ({', '.join(variants) or 'none'}), a "
        f"recipe of pretrain={folder} ({', '.join(recipes)}) or a method of {adapter().NAME} "
        f"({', '.join(adapter().method_names())})."
    )


def _strings(cfg: Any, key: str, name: str | None = None) -> tuple[str, ...]:
    values = cfg.get(key)
    values = [] if values is None else values
    if not isinstance(values, list | ListConfig) or not all(isinstance(v, str) for v in values):
        raise InputError(f"{name or key}={values!r}: give a list of overrides, [key=value,...].")
    return tuple(values)


def _probe(
    cfg: DictConfig, pretraining: DictConfig, recipe: str, folder: Path, here: bool
) -> DictConfig | None:
    """The probe's recipe on the data, backbone and seed of a pretraining recipe."""
    if cfg.get("linear") is None:
        return None
    recipe_folder = _text(cfg, "linear", "a folder of recipes, or null")
    names = {path.stem for path in find_folder(recipe_folder).glob("*.yaml")}
    overrides = (*_strings(cfg, "linear_overrides"), *_strings(cfg, "typed_linear"))
    _refuse(overrides, OURS_OF_PROBE, "linear.")
    required = ("data.train_path", "data.val_path", "pretrained_feature_extractor")
    placeholders = [f"++{key}=-" for key in required]
    name = recipe if recipe in names else BASE
    with _told_of("linear"):
        probe = compose_recipe(recipe_folder, name, [*placeholders, *overrides])
    crop = pretraining.augmentations[0]
    taken = {
        **{f"data.{key}": pretraining.data.get(key) for key in ("train_path", "val_path")},
        **{f"data.{key}": pretraining.data.get(key) for key in ("dataset", "format")},
        **{f"data.augmentations.{key}": crop.get(key) for key in ("crop_size", "mean", "std")},
        "data.num_workers": pretraining.data.num_workers,
        "dali": pretraining.get("dali"),
        "accelerator": pretraining.get("accelerator"),
    }
    typed = {override.partition("=")[0].lstrip("+~") for override in overrides}
    with open_dict(probe):
        for key, value in taken.items():
            if value is not None and key not in typed:
                OmegaConf.update(probe, key, value, merge=False, force_add=True)
        probe.backbone = pretraining.backbone
        probe.pretrain_method = pretraining.method
        probe.seed, probe.devices = pretraining.seed, 1
        probe.auto_resume, probe.resume_from_checkpoint = {"enabled": True}, None
        probe.checkpoint.dir, probe.checkpoint.enabled = str(folder), True
    if here:
        with _told_of("linear"):
            recipes.check_linear(probe.copy())
    return probe


def check_buildable(plan: Plan) -> None:
    """Builds each method that is not ours once, as only it knows which settings it needs.

    Raises:
        InputError: if one lacks settings, before anything is trained.
    """
    from solo_bayesncl.commands import pretrain
    from solo_bayesncl.recipes import METHODS

    for job in {job.method: job for job in plan.jobs}.values():
        if job.cfg.method not in (*METHODS, BASE) and finished(job) is None:
            with _told_of(job.method):
                pretrain.build(pretrain.prepare(job.cfg.copy()))


def _inputs(job: Job) -> dict[str, Any]:
    """Everything that a job's numbers depend on, in JSON's own types."""
    evaluation = {k: v for k, v in job.evaluation.items() if k not in ("device", "workers")}
    for key in ("metadata", "reference_weights"):
        if key in evaluation:
            evaluation[key] = _digest(Path(evaluation[key]))
    inputs = {
        "pretrain": runs.comparable(OmegaConf.to_container(job.cfg, resolve=True)),
        "linear": job.probe and runs.comparable(OmegaConf.to_container(job.probe)),
        "evaluation": evaluation | {"format": evaluate.FORMAT},
    }
    return json.loads(json.dumps(inputs, default=str))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def finished(job: Job) -> dict[str, Any] | None:
    """The record of a finished job, None if it is not or was another one."""
    try:
        record = json.loads((job.folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("inputs") != _inputs(job):
        return None
    whole = all((job.folder / name).is_file() for name in (*FINDINGS, f"{record['run']}/args.json"))
    return record if whole else None


def require_finished(job: Job) -> dict[str, Any]:
    """The record of a job; raises `InputError` if it is not finished."""
    record = finished(job)
    if record is None:
        raise InputError(f"The run of {job.name} is not finished: see above.")
    return record


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
    # written last: it vouches for all that lies beside it
    (job.folder / RECORD).unlink(missing_ok=True)
    folder = _pretrain(job)
    linear = _linear(job, folder)
    subject = evaluate.encode_splits(folder, _options(job.evaluation))
    explain.write_findings(subject, job.folder)
    files.write_json(
        job.folder / RECORD,
        {
            "inputs": _inputs(job),
            "run": folder.relative_to(job.folder).as_posix(),
            "linear": linear,
        },
    )


def _pretrain(job: Job) -> Path:
    from solo_bayesncl.commands.pretrain import build, prepare, pretrain

    fitted = job.cfg.copy()
    recipes.fit_to_machine(fitted)
    if len(fitted.devices) * (fitted.get("num_nodes") or 1) == 1:
        return pretrain(job.cfg.copy())
    # Lightning starts the other processes by repeating the command line of this one
    command = [sys.executable, "-m", "solo_bayesncl", "pretrain"]
    command += ["--config-path", job.recipe_folder, "--config-name", job.recipe, *job.overrides]
    done = subprocess.run(command, check=False, preexec_fn=_dies_with_its_parent())
    if done.returncode != 0:
        raise InputError(f"Pretraining {job.name} failed: see above.")
    cfg = prepare(job.cfg.copy())
    build(cfg)  # adds the method's defaults, which a run's record has
    return runs.find_resumable(cfg, cfg.method).folder


def _dies_with_its_parent() -> Callable[[], None] | None:
    """On Linux: a killed comparison leaves no training behind that a new one would meet."""
    if sys.platform != "linux":
        return None
    prctl, set_parent_death_signal = ctypes.CDLL(None).prctl, 1
    return lambda: prctl(set_parent_death_signal, signal.SIGKILL)


def _linear(job: Job, folder: Path) -> dict[str, float]:
    """Accuracies in percent of the host's linear probe on the backbone."""
    from solo_bayesncl.commands.linear import train_linear

    if job.probe is None:
        return {}
    probe = job.probe.copy()
    probe.pretrained_feature_extractor = str(folder)
    with _told_of("linear"):
        found = train_linear(probe)
        with (found / "metrics.csv").open(newline="", encoding="utf-8") as file:
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


def evaluation_of(job: Job, record: dict[str, Any]) -> dict[str, Any]:
    """A finished job's evaluation with the accuracies of its probe."""
    evaluation = json.loads((job.folder / "evaluation.json").read_text(encoding="utf-8"))
    evaluation["accuracy"] |= record["linear"]
    return evaluation
