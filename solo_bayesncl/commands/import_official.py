"""Makes a run of a checkpoint of the official code: a folder that the other commands take.

solo-bayesncl import OFFICIAL.ckpt --out DIR [--config-path DIR --config-name NAME] [key=value ...]
"""

import argparse
import io
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

import solo_bayesncl
from solo_bayesncl import files
from solo_bayesncl.adapters import adapter
from solo_bayesncl.commands.pretrain import build, prepare
from solo_bayesncl.console import say
from solo_bayesncl.errors import InputError, require_one_of
from solo_bayesncl.recipes.compose import as_input_error, compose_recipe
from solo_bayesncl.runs import run as runs
from solo_bayesncl.sharing.official import UNTOLD, Official
from solo_bayesncl.training import trainer as training


def run(arguments: list[str]) -> int:
    """The command; what stands behind the options overrides the recipe or the record."""
    args = _parser().parse_intermixed_args(arguments)
    if (args.config_path is None) != (args.config_name is None):
        raise InputError("--config-path and --config-name belong together: give both or neither.")
    removing = "~" if args.config_name is not None else ()  # Hydra's word, for recipes
    wrong = [o for o in args.overrides if "=" not in o and not o.startswith(removing)]
    if wrong:
        raise InputError(f"{wrong[0]!r} is no override: give key=value.")
    training.prepare_host()
    official = Official.read(args.checkpoint)
    recipe = (args.config_path, args.config_name)
    with as_input_error():
        if args.config_name is not None:
            folder = of_recipe(official, *recipe, args.overrides, args.out)
        else:
            folder = of_record(official, args.overrides, args.out)
    say(f"the run is in {folder}; evaluate it with: solo-bayesncl evaluate {folder}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="solo-bayesncl import",
        description="Make a run of a checkpoint of the official code. Its settings are those of "
        "the args.json beside it, or of a recipe, with what the weights tell put in.",
    )
    parser.add_argument("checkpoint", type=Path, metavar="OFFICIAL.ckpt")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="for DIR/<method>/<version>/"
    )
    parser.add_argument("--config-path", "-cp", metavar="DIR", help="folder of the recipe")
    parser.add_argument("--config-name", "-cn", metavar="NAME", help="the recipe")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the settings")
    return parser


def of_recipe(official: Official, folder: str, name: str, overrides: list[str], out: Path) -> Path:
    """Imports with the settings that pretraining with a recipe would record.

    So `compare` and `pretrain` with the same recipe and overrides find the run finished.

    Args:
        official: the checkpoint.
        folder, name, overrides: as behind `pretrain`; what the weights tell comes before overrides.
        out: the parent of `<method>/<version>/`.

    Returns:
        The run's folder.

    Raises:
        InputError: if recipe, record and weights contradict each other.
    """
    asked = compose_recipe(folder, name, overrides)
    told = official.told()
    if str(asked.get("method")).startswith("bayesncl"):
        told["method_kwargs.gating_head_depth"] = official.gating_head_depth()
    cfg = compose_recipe(folder, name, [*(f"++{k}={v}" for k, v in told.items()), *overrides])
    _check(official, cfg)
    changed = [key for key in told if OmegaConf.select(cfg, key) != OmegaConf.select(asked, key)]
    if changed:
        say(f"read from the weights: {_values(cfg, changed)}")
    # of a data set whose classes are known, images may be elsewhere
    cfg = prepare(cfg, data=cfg.data.dataset == "custom")
    _check_record(official, cfg)
    last = cfg.max_epochs - 1 if official.epoch is None else official.epoch
    if last + 1 < cfg.max_epochs:
        raise InputError(
            f"{official.path} is of epoch {last} (from 0), the recipe trains max_epochs="
            f"{cfg.max_epochs}. An import cannot be trained on: type max_epochs={last + 1}."
        )
    guessed = [key for key in UNTOLD if OmegaConf.select(cfg, key) is not None and key not in told]
    say(f"taken from the recipe, as weights cannot tell: {_values(cfg, guessed)}")
    return _write(official, cfg, out, last)


def of_record(official: Official, overrides: list[str], out: Path) -> Path:
    """Imports with the settings of the `args.json` beside the checkpoint.

    Raises:
        InputError: if there is none, or it does not fit the weights or the installed solo-learn.
    """
    cfg = official.settings()
    if cfg is None:
        raise InputError(_what_is_missing(official))
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        try:
            OmegaConf.update(cfg, key, OmegaConf.from_dotlist([f"_={value}"])["_"], force_add=True)
        except (OmegaConfBaseException, ValueError, TypeError, IndexError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{override!r} cannot be put into the settings: {reason}") from error
    _check(official, cfg)
    solo_bayesncl.register()
    require_one_of(cfg.method, adapter().method_names(), "method", adapter().MORE)
    backbones = adapter().backbone_names()
    require_one_of(cfg.backbone.get("name"), backbones, "backbone.name", adapter().MORE)
    with open_dict(cfg):
        cfg.data.num_classes = cfg.data.get("num_classes") or official.classes
        cfg.name = cfg.get("name") or cfg.method
    say(f"read from {official.path.parent / 'args.json'}: method={cfg.method}, "
        f"{_values(cfg, [k for k in UNTOLD if OmegaConf.select(cfg, k) is not None])}")  # fmt: skip
    last = (cfg.get("max_epochs") or 1) - 1 if official.epoch is None else official.epoch
    return _write(official, cfg, out, last)


def _what_is_missing(official: Official) -> str:
    told = ", ".join(f"{key}={value}" for key, value in official.told().items())
    recipes = "cifar" if official.has_cifar_stem else "imagenet-100"
    example = (
        "bayesncl method_kwargs.gate_threshold=0.5"
        if official.has_gate
        else "ncl method_kwargs.non_neg=relu"
    )
    note = (
        "It has a gating head; if that was not used (use_bayes=False), take the recipe ncl. "
        if official.has_gate
        else "It has no gating head: take the recipe ncl or simclr. "
    )
    return (
        f"{official.path} has no args.json beside it, and its weights do not tell: "
        f"{', '.join(official.untold())}. (They tell: {told}.) "
        f"{note}Give a recipe and what differs from it, e.g. --config-path "
        f"scripts/pretrain/{recipes} --config-name {example}"
    )


def _check(official: Official, cfg: DictConfig) -> None:
    """Refuses settings that contradict the weights where the message of loading would not help."""
    gated = str(cfg.get("method")).startswith("bayesncl")
    if gated and not official.has_gate:
        raise InputError(
            f"method={cfg.method}, but {official.path} has no gating head: choose ncl or simclr."
        )
    if official.has_gate and not gated:
        say(f"the gating head is left out: method={cfg.method} has none")
    dataset = cfg.data.get("dataset")
    is_cifar = dataset in ("cifar10", "cifar100")
    if official.is_resnet and official.has_cifar_stem != is_cifar:
        stem = "has the 3x3" if official.has_cifar_stem else "does not have the 3x3"
        raise InputError(
            f"data.dataset={dataset}, but {official.path} {stem} first layer that solo-learn gives "
            "to cifar10 and cifar100, and to no other data set. Correct data.dataset."
        )
    if official.classes is None:
        raise InputError(f"{official.path} holds no classifier.weight: it is no whole checkpoint.")


def _check_record(official: Official, cfg: DictConfig) -> None:
    """Refuses a recipe that says something else than the record beside the checkpoint."""
    record = official.settings()
    if record is None:
        return
    keys = ["method", *UNTOLD]
    differ = [
        key
        for key in keys
        if OmegaConf.select(record, key) is not None
        and OmegaConf.select(record, key) != OmegaConf.select(cfg, key)
    ]
    if differ:
        raise InputError(
            f"The recipe says {_values(cfg, differ)}, but the args.json beside {official.path} "
            f"{_values(record, differ)}. Type the latter, or leave the recipe out."
        )


def _values(cfg: DictConfig, keys: list[str]) -> str:
    return ", ".join(f"{key}={OmegaConf.select(cfg, key)}" for key in keys)


def _write(official: Official, cfg: DictConfig, out: Path, epoch: int) -> Path:
    if cfg.data.num_classes != official.classes:
        raise InputError(
            f"{official.path} was trained with {official.classes} classes, but data.dataset="
            f"{cfg.data.dataset} has {cfg.data.num_classes}. Correct data.dataset, or for custom "
            "images data.train_path."
        )
    parent = out / cfg.method
    version = runs.new_version(parent)
    with open_dict(cfg):
        OmegaConf.update(cfg, "checkpoint.dir", str(out), force_add=True)
    weights = official.weights_for(cfg.method)
    model = build(cfg)
    runs.fill_module(model, weights, official.path)
    content: dict[str, Any] = {
        "epoch": epoch,
        "global_step": official.step,
        "pytorch-lightning_version": adapter().pl.__version__,
        "state_dict": {name: weight.clone() for name, weight in weights.items()},
    }
    written = io.BytesIO()
    torch.save(content, written)
    folder = parent / version
    try:
        files.write_bytes(folder / f"{cfg.name}-{version}-ep={epoch}.ckpt", written.getvalue())
        files.write_json(folder / "args.json", OmegaConf.to_container(cfg, resolve=True))
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {error}.") from error
    return folder
