"""What a comparison consists of: its methods and seeds, with every recipe composed and checked."""

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import joblib
import torch
from omegaconf import DictConfig, OmegaConf, open_dict

from solo_bayesncl import methods
from solo_bayesncl.adapters import adapter
from solo_bayesncl.adapters.datasets import DOWNLOADED
from solo_bayesncl.comparison.config import ComparisonConfig, PrintedSection
from solo_bayesncl.comparison.grids import expand_grid
from solo_bayesncl.errors import InputError, prefix_arguments, prefix_errors
from solo_bayesncl.evaluation.dictionaries import require_library
from solo_bayesncl.evaluation.options import Options
from solo_bayesncl.image_files import require_flat
from solo_bayesncl.recipes import check_linear, check_pretrain, validate
from solo_bayesncl.recipes.compose import compose_recipe, find_folder
from solo_bayesncl.recipes.overrides import key_of
from solo_bayesncl.recipes.search_path import recipe_names

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
# each process of a small comparison needs about a gigabyte of memory
MOST_JOBS = 4
# the recipe of methods that have none of their own
BASE = "simclr"


@dataclass(frozen=True, eq=False)
class Job:
    """One method or control at one seed.

    Attributes:
        method: its name in the comparison.
        seed: of everything that is random.
        folder: holds the pretraining run, the probe's, the findings and `job.json`; of a control,
            only the last two.
        recipe_folder, recipe, overrides: the arguments that `solo-bayesncl pretrain` would take.
        cfg: the recipe as composed.
        probe: the recipe of the linear probe, None without one.
        evaluation: options of the evaluation that were given.
        control: its settings, None for a method.
        base: the method that a control is fitted to, whose recipe is the above.
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
    control: dict[str, Any] | None = None
    base: "Job | None" = None

    @property
    def name(self) -> str:
        return f"{self.method}, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """A comparison.

    Attributes:
        methods, controls, seeds: what is compared; seeds ascend.
        out: where everything is written.
        jobs: every method at every seed, then every control, or the one that `job` names.
        single: whether `job` names one.
        printed: results of a publication to show beside, None without.
        n_jobs: how many runs are carried out at a time.
    """

    methods: tuple[str, ...]
    controls: tuple[str, ...]
    seeds: tuple[int, ...]
    out: Path
    jobs: tuple[Job, ...]
    single: bool
    printed: PrintedSection | None = None
    n_jobs: int = 1

    @classmethod
    def of(cls, cfg: DictConfig, here: bool = True) -> "Plan":
        """From a comparison's configuration, with every recipe composed and checked.

        Args:
            cfg: the YAML file with the overrides of the command line.
            here: whether this machine is to run it. If not, what depends on the machine is left to
                the one that does.

        Raises:
            InputError: for a key or value that cannot be used, before anything runs.
        """
        config = validate(ComparisonConfig, expand_grid(cfg))
        for key in ("pretrain", "linear"):
            if (folder := getattr(config, key)) is not None:
                find_folder(folder, f"{key}=")
        evaluation = config.evaluation.model_dump(exclude_none=True)
        with prefix_arguments("evaluation."):
            options = options_of(evaluation)
            if here:
                _ = options.torch_device
        methods, controls = tuple(config.methods), tuple(config.controls)
        seeds = tuple(sorted(config.seeds))
        single = config.job.method is not None
        compared = product((*methods, *controls), seeds)
        runs = [(config.job.method, config.job.seed)] if single else compared
        jobs = tuple(_job(config, *run, evaluation, here) for run in runs)
        _check_printed(config, jobs)
        n_jobs = _auto_n_jobs() if config.n_jobs == "auto" else config.n_jobs
        return cls(methods, controls, seeds, Path(config.out), jobs, single, config.printed, n_jobs)


def _auto_n_jobs() -> int:
    """How many runs of a small model this machine carries out at a time."""
    return 1 if torch.cuda.is_available() else min(MOST_JOBS, joblib.cpu_count())


def options_of(evaluation: dict[str, Any]) -> Options:
    """Options of the evaluation from a comparison's section; raises `InputError` for wrong ones."""
    paths = evaluation.keys() & {"metadata", "reference_weights"}
    return Options(**(evaluation | {key: Path(evaluation[key]) for key in paths}))


def _job(
    config: ComparisonConfig, method: str, seed: int, evaluation: dict[str, Any], here: bool
) -> Job:
    folder = Path(config.out) / "runs" / method / f"seed-{seed}"
    if method in config.controls:
        control = config.controls[method]
        if here:
            require_library(control.kind, f"controls.{method}.kind")
        base = _job(config, control.of, seed, evaluation, here)
        return replace(
            base, method=method, folder=folder, probe=None, control=control.settings(), base=base
        )
    recipe, overrides = _recipe(config, method)
    overrides = (*config.overrides, *overrides, *config.typed)
    _refuse(overrides, RESERVED_KEYS)
    overrides += (
        f"++seed={seed}",
        f"++checkpoint.dir={folder}",
        "++checkpoint.enabled=True",
        "++auto_resume.enabled=True",
    )
    composed = compose_recipe(config.pretrain, recipe, list(overrides))
    with prefix_errors(method):
        if here:
            check_pretrain(composed.copy())
        if composed.data.get("val_path") is None:
            raise InputError(
                "data.val_path=null: a comparison measures validation images. Give data.val_path, "
                "a folder per class in it, or, with data.no_labels=True, the images themselves."
            )
        if here and composed.data.get("no_labels"):
            _require_flat(composed)
    probe = _probe(config, composed, recipe, folder, here)
    return Job(
        method, seed, folder, config.pretrain, recipe, overrides, composed, probe, evaluation
    )


def _require_flat(cfg: DictConfig) -> None:
    """Raises `InputError` unless validation images without labels can be measured."""
    if cfg.data.get("format") == "h5" or cfg.data.dataset in DOWNLOADED:
        raise InputError(
            "data.no_labels=True: a comparison without labels is of image folders. Set "
            "data.no_labels=False."
        )
    if not Path(cfg.data.val_path).is_dir():
        raise InputError(f"data.val_path={cfg.data.val_path} is not a folder.")
    require_flat(cfg.data.val_path, "data.val_path")


def _refuse(overrides: tuple[str, ...], reserved: dict[str, str], prefix: str = "") -> None:
    for override in overrides:
        key = key_of(override)
        if key in reserved:
            raise InputError(f"{prefix}{override}: a comparison sets {key} itself. {reserved[key]}")


def _recipe(config: ComparisonConfig, method: str) -> tuple[str, tuple[str, ...]]:
    """(recipe, overrides) of a method's name."""
    if method in config.variants:
        variant = config.variants[method]
        return variant.recipe, tuple(variant.overrides)
    recipes = recipe_names(find_folder(config.pretrain))
    if method in recipes:
        return method, ()
    methods.register()
    if method in adapter().method_names():
        return BASE, (f"method={method}", f"name={method}")
    raise InputError(
        f"methods: {method!r} is not known. Choose a variant "
        f"({', '.join(config.variants) or 'none'}), a recipe of pretrain={config.pretrain} "
        f"({', '.join(recipes)}) or a method of {adapter().NAME} "
        f"({', '.join(adapter().method_names())})."
    )


def _check_printed(config: ComparisonConfig, jobs: tuple[Job, ...]) -> None:
    """Raises `InputError` for names of methods, or of keys of their recipes, that there are not."""
    if config.printed is None:
        return
    with prefix_errors("printed"):
        for method in {**config.printed.methods, **config.printed.unpublished}:
            if method not in config.controls:
                _recipe(config, method)
    for job in jobs:
        for key in config.printed.unpublished.get(job.method, []):
            if OmegaConf.select(job.cfg, key) is None:
                raise InputError(
                    f"printed.unpublished.{job.method}: the recipe has no {key}. Give keys of the "
                    "recipe, such as method_kwargs.topk_k."
                )


def _probe(
    config: ComparisonConfig, pretraining: DictConfig, recipe: str, folder: Path, here: bool
) -> DictConfig | None:
    """The probe's recipe on the data, backbone and seed of a pretraining recipe.

    None without labels.
    """
    if config.linear is None or pretraining.data.get("no_labels"):
        return None
    overrides = (*config.linear_overrides, *config.typed_linear)
    _refuse(overrides, RESERVED_PROBE_KEYS, "linear.")
    required = ("data.train_path", "data.val_path", "pretrained_feature_extractor")
    placeholders = [f"++{key}=-" for key in required]
    name = recipe if recipe in recipe_names(find_folder(config.linear)) else BASE
    with prefix_errors("linear"):
        probe = compose_recipe(config.linear, name, [*placeholders, *overrides])
    data, crop = pretraining.data, pretraining.augmentations[0]
    data_keys = (
        "train_path", "val_path", "dataset", "format", "num_workers", "on_corrupt",
        "max_image_pixels",
    )  # fmt: skip
    taken = {
        **{f"data.{key}": data.get(key) for key in data_keys},
        **{f"data.augmentations.{key}": crop.get(key) for key in ("crop_size", "mean", "std")},
        "dali": pretraining.get("dali"),
        "accelerator": pretraining.get("accelerator"),
    }
    typed = set(map(key_of, overrides))
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
