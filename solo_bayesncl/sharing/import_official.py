"""Turns a checkpoint of the official code into a run: a folder that the other commands take."""

import io
import logging
import shutil
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf, open_dict

import solo_bayesncl
from solo_bayesncl import files, runs
from solo_bayesncl.adapters import adapter
from solo_bayesncl.errors import InputError, require_one_of
from solo_bayesncl.outputs import cannot_be_written, check_folder
from solo_bayesncl.recipes.compose import compose_recipe
from solo_bayesncl.recipes.overrides import apply, key_of
from solo_bayesncl.recipes.read_errors import as_input_error
from solo_bayesncl.sharing.official import CODE_SETTINGS, OfficialCheckpoint
from solo_bayesncl.training.environment import prepare_solo_learn
from solo_bayesncl.training.pretraining import build, prepare

_logger = logging.getLogger(__name__)


def import_official(
    path: Path, out: Path, overrides: list[str], recipe: tuple[str, str] | None = None
) -> Path:
    """Turns a checkpoint of the official code into a run.

    Args:
        path: the .ckpt file.
        out: the parent of `<method>/<version>/`.
        overrides: key=value, applied to the settings.
        recipe: folder and name of the recipe that gives the settings, as of `pretrain`; by default
            they come from the `args.json` beside the checkpoint.

    Returns:
        The run's folder.

    Raises:
        InputError: if recipe, record, weights and the installed solo-learn contradict each other.
    """
    for override in overrides:
        key_of(override)  # refuses what is none, before anything is read
    check_folder("out", out, out)
    prepare_solo_learn()
    official = OfficialCheckpoint.read(path)
    with as_input_error():
        if recipe is None:
            cfg = _settings_of_record(official, overrides)
        else:
            cfg = _settings_of_recipe(official, *recipe, overrides)
        return _write_run(official, cfg, out)


def _settings_of_recipe(
    official: OfficialCheckpoint, folder: str, name: str, overrides: list[str]
) -> DictConfig:
    """What pretraining with the recipe would record, so that `compare` finds the run finished."""
    recipe = compose_recipe(folder, name, overrides)
    inferred = official.inferred_settings()
    if str(recipe.get("method")).startswith("bayesncl"):
        inferred["method_kwargs.gating_head_depth"] = official.gating_head_depth
    cfg = compose_recipe(folder, name, [*(f"++{k}={v}" for k, v in inferred.items()), *overrides])
    _check_weights(official, cfg)
    changed = [k for k in inferred if OmegaConf.select(cfg, k) != OmegaConf.select(recipe, k)]
    if changed:
        _logger.info("read from the weights: %s", _listed(cfg, changed))
    # the number of classes of custom data is known from the images alone
    cfg = prepare(cfg, data=cfg.data.dataset == "custom")
    _check_record(official, cfg)
    last = _last_epoch(official, cfg)
    if last + 1 < cfg.max_epochs:
        raise InputError(
            f"{official.path} is of epoch {last} (from 0), the recipe trains max_epochs="
            f"{cfg.max_epochs}. An import cannot be trained on: type max_epochs={last + 1}."
        )
    assumed = [key for key in _present(cfg, CODE_SETTINGS) if key not in inferred]
    _logger.info("taken from the recipe, as weights cannot tell: %s", _listed(cfg, assumed))
    return cfg


def _settings_of_record(official: OfficialCheckpoint, overrides: list[str]) -> DictConfig:
    """The settings of the `args.json` beside the checkpoint, with overrides."""
    cfg = official.recorded_settings()
    if cfg is None:
        raise InputError(_recipe_needed(official))
    apply(cfg, overrides)
    _check_weights(official, cfg)
    solo_bayesncl.register()
    require_one_of(cfg.method, adapter().method_names(), "method", adapter().OTHER_RELEASE)
    backbones = adapter().backbone_names()
    require_one_of(cfg.backbone.get("name"), backbones, "backbone.name", adapter().OTHER_RELEASE)
    with open_dict(cfg):
        cfg.data.num_classes = cfg.data.get("num_classes") or official.num_classes
        cfg.name = cfg.get("name") or cfg.method
    record, settings = official.path.parent / "args.json", _present(cfg, CODE_SETTINGS)
    _logger.info("read from %s: %s", record, _listed(cfg, ["method", *settings]))
    return cfg


def _recipe_needed(official: OfficialCheckpoint) -> str:
    inferred = ", ".join(f"{key}={value}" for key, value in official.inferred_settings().items())
    if official.has_gate:
        note = "It has a gating head; if that was not used (use_bayes=False), take the recipe ncl."
        example = "bayesncl method_kwargs.gate_threshold=0.5"
    else:
        note = "It has no gating head: take the recipe ncl or simclr."
        example = "ncl method_kwargs.non_neg=relu"
    return (
        f"{official.path} has no args.json beside it, and its weights do not tell: "
        f"{', '.join(official.unknown_settings())}. (They tell: {inferred}.) {note} Give a recipe "
        "and what differs from it, e.g. --config-path scripts/pretrain/"
        f"{'cifar' if official.has_cifar_stem else 'imagenet-100'} --config-name {example}"
    )


def _check_weights(official: OfficialCheckpoint, cfg: DictConfig) -> None:
    """Refuses settings that contradict the weights in ways that loading would not explain."""
    gated = str(cfg.get("method")).startswith("bayesncl")
    if gated and not official.has_gate:
        raise InputError(
            f"method={cfg.method}, but {official.path} has no gating head: choose ncl or simclr."
        )
    if official.has_gate and not gated:
        _logger.info("the gating head is left out: method=%s has none", cfg.get("method"))
    dataset = cfg.data.get("dataset")
    if official.is_resnet and official.has_cifar_stem != (dataset in ("cifar10", "cifar100")):
        stem = "has the 3x3" if official.has_cifar_stem else "does not have the 3x3"
        raise InputError(
            f"data.dataset={dataset}, but {official.path} {stem} first layer that solo-learn gives "
            "to cifar10 and cifar100, and to no other data set. Correct data.dataset."
        )


def _check_record(official: OfficialCheckpoint, cfg: DictConfig) -> None:
    """Refuses a recipe that contradicts the record beside the checkpoint."""
    record = official.recorded_settings()
    if record is None:
        return
    keys = _present(record, ("method", *CODE_SETTINGS))
    differ = [key for key in keys if OmegaConf.select(record, key) != OmegaConf.select(cfg, key)]
    if differ:
        raise InputError(
            f"The recipe has {_listed(cfg, differ)}, but the args.json beside {official.path} "
            f"{_listed(record, differ)}. Type the latter, or leave the recipe out."
        )


def _write_run(official: OfficialCheckpoint, cfg: DictConfig, out: Path) -> Path:
    if cfg.data.num_classes != official.num_classes:
        raise InputError(
            f"{official.path} was trained with {official.num_classes} classes, but data.dataset="
            f"{cfg.data.dataset} has {cfg.data.num_classes}. Correct data.dataset, or for custom "
            "images data.train_path."
        )
    epoch = _last_epoch(official, cfg)
    with open_dict(cfg):
        OmegaConf.update(cfg, "checkpoint.dir", str(out), force_add=True)
    weights = official.weights_for(cfg.method)
    runs.fill_module(build(cfg), weights, official.path)
    checkpoint = io.BytesIO()
    torch.save(
        {
            "epoch": epoch,
            "global_step": official.step,
            "pytorch-lightning_version": adapter().pl.__version__,
            "state_dict": {name: weight.clone() for name, weight in weights.items()},
        },
        checkpoint,
    )
    try:
        folder = runs.new_folder(out / cfg.method)
        name = f"{cfg.name}-{folder.name}-ep={epoch}.ckpt"
        files.write_bytes(folder / name, checkpoint.getvalue())
        files.write_json(folder / "args.json", OmegaConf.to_container(cfg, resolve=True))
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)  # of a name that no other run has
        raise cannot_be_written("out", out, error) from error
    return folder


def _last_epoch(official: OfficialCheckpoint, cfg: DictConfig) -> int:
    """From 0; of a file that lacks it, the last one of the settings."""
    return (cfg.get("max_epochs") or 1) - 1 if official.epoch is None else official.epoch


def _present(cfg: DictConfig, keys: tuple[str, ...]) -> list[str]:
    return [key for key in keys if OmegaConf.select(cfg, key) is not None]


def _listed(cfg: DictConfig, keys: list[str]) -> str:
    return ", ".join(f"{key}={OmegaConf.select(cfg, key)}" for key in keys)
