"""What a comparison consists of: its methods and seeds, with every recipe composed and checked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from solo_bayesncl.adapters import adapter
from solo_bayesncl.comparison import grids
from solo_bayesncl.errors import InputError, prefix_errors
from solo_bayesncl.evaluation.options import Options
from solo_bayesncl.recipes.checks import MAX_SEED, check_linear, check_pretrain
from solo_bayesncl.recipes.compose import compose_recipe, find_folder
from solo_bayesncl.recipes.search_path import recipe_names

KEYS = (
    "methods", "seeds", "out", "recipes", "pretrain", "linear", "variants", "grid",
    "overrides", "linear_overrides", "evaluation", "job", "typed", "typed_linear", "hydra",
)  # fmt: skip
EVALUATION_KEYS = (
    "metadata", "reference", "reference_weights", "device", "precision", "workers",
)  # fmt: skip
# keys of a recipe that a comparison decides, and what to give instead
RESERVED_KEYS = {
    "seed": "Give seeds=[...].",
    "checkpoint.dir": "Give out=DIR.",
    "checkpoint.enabled": "It needs the checkpoints.",
    "resume_from_checkpoint": "It continues what is unfinished by itself.",
}
_PRETRAINING = "It is that of the pretraining."
RESERVED_PROBE_KEYS = {
    **RESERVED_KEYS,
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
        cfg = with_grid(cfg)
        methods = _list(cfg, "methods", str, "a list of names, e.g. [simclr,ncl,bayesncl]")
        for method in methods:
            if not all(c.isalnum() or c in "._-" for c in method):
                raise InputError(f"methods: {method!r} cannot be a folder's name: use letters.")
        seeds = _list(cfg, "seeds", int, "a list of integers, e.g. [0,1,2]")
        for seed in seeds:
            if not 0 <= seed <= MAX_SEED:
                raise InputError(f"seeds: {seed}: give integers from 0 to {MAX_SEED}.")
        out = Path(_text(cfg, "out", "the folder to write to"))
        chosen = _chosen(cfg, methods, seeds)
        pairs = [chosen] if chosen else [(m, s) for m in methods for s in sorted(seeds)]
        evaluation = _evaluation(cfg, here)
        made = tuple(_job(cfg, out, *pair, evaluation, here) for pair in pairs)
        return cls(methods, tuple(sorted(seeds)), out, made, single=chosen is not None)

    def job(self, method: str, seed: int) -> Job:
        """The job of a method at a seed."""
        return next(job for job in self.jobs if (job.method, job.seed) == (method, seed))


def with_grid(cfg: DictConfig) -> DictConfig:
    """A comparison whose `grid` is written out as variants; all are compared if `methods` is null.

    Raises:
        InputError: for a grid that cannot be used.
    """
    grid = _section(cfg, "grid", ", ".join(grids.KEYS))
    if not grid:
        return cfg
    variants = grids.variants_of(grid)
    cfg = cfg.copy()
    cfg.variants = variants | _section(cfg, "variants", "a recipe and overrides under each name")
    if cfg.get("methods") is None:
        cfg.methods = list(variants)
    return cfg


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
    options = options_of(given)
    if here:
        _ = options.torch_device
    return given


def options_of(evaluation: dict[str, Any]) -> Options:
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
    _refuse(overrides, RESERVED_KEYS)
    overrides += (
        f"++seed={seed}",
        f"++checkpoint.dir={folder}",
        "++checkpoint.enabled=True",
        "++auto_resume.enabled=True",
    )
    composed = compose_recipe(recipe_folder, recipe, list(overrides))
    with prefix_errors(method):
        if here:
            check_pretrain(composed.copy())
        if composed.data.get("no_labels") or composed.data.get("val_path") is None:
            raise InputError(
                "data.val_path=null or data.no_labels=True: a comparison measures labelled "
                "validation images. Give data.val_path, a folder per class in it."
            )
    probe = _probe(cfg, composed, recipe, folder, here)
    return Job(method, seed, folder, recipe_folder, recipe, overrides, composed, probe, evaluation)


def _refuse(overrides: tuple[str, ...], reserved: dict[str, str], prefix: str = "") -> None:
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~")
        if key in reserved:
            raise InputError(f"{prefix}{override}: a comparison sets {key} itself. {reserved[key]}")


def _recipe(cfg: DictConfig, folder: str, method: str) -> tuple[str, tuple[str, ...]]:
    """(recipe, overrides) of a method's name."""
    variants = _section(cfg, "variants", "a recipe and overrides under each name")
    if method in variants:
        variant = variants[method]
        if not isinstance(variant, dict) or not isinstance(variant.get("recipe"), str):
            raise InputError(f"variants.{method}: give recipe: NAME and overrides: [key=value].")
        return variant["recipe"], _strings(variant, "overrides", f"variants.{method}.overrides")
    recipes = recipe_names(find_folder(folder))
    if method in recipes:
        return method, ()
    from solo_bayesncl.methods import register  # imports solo-learn, which takes seconds

    register()
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
    names = recipe_names(find_folder(recipe_folder))
    overrides = (*_strings(cfg, "linear_overrides"), *_strings(cfg, "typed_linear"))
    _refuse(overrides, RESERVED_PROBE_KEYS, "linear.")
    required = ("data.train_path", "data.val_path", "pretrained_feature_extractor")
    placeholders = [f"++{key}=-" for key in required]
    name = recipe if recipe in names else BASE
    with prefix_errors("linear"):
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
        with prefix_errors("linear"):
            check_linear(probe.copy())
    return probe
