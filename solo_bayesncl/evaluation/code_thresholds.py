"""The threshold that cuts a run's codes to a length: found once, kept beside the checkpoint."""

import hashlib
import logging
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader

from solo_bayesncl import files
from solo_bayesncl.adapters.shared import labels_of, loader_options
from solo_bayesncl.data.loaders import has_folders, training_images, worker_options
from solo_bayesncl.data.transforms import evaluation_transform
from solo_bayesncl.data.unreadable import ReadableLoader, Reading, UnreadableImages
from solo_bayesncl.errors import ArgumentError, InputError
from solo_bayesncl.evaluation import probes
from solo_bayesncl.evaluation.encoding import evaluation_loaders
from solo_bayesncl.evaluation.forward import outputs_by_batch
from solo_bayesncl.evaluation.options import Options
from solo_bayesncl.metrics import cut_threshold
from solo_bayesncl.precision import resolve_precision
from solo_bayesncl.recipes.checks import data_errors_as_input_errors
from solo_bayesncl.runs import Run
from solo_bayesncl.runs.models import load_model

_logger = logging.getLogger(__name__)

THRESHOLDS = "code_thresholds.json"  # in the folder of a run


def check_code_length(code_length: float | None) -> None:
    """Raises `ArgumentError` unless it is a finite number above 0, or None for codes as trained."""
    is_number = isinstance(code_length, int | float) and isfinite(code_length)
    if code_length is not None and not (is_number and code_length > 0):
        raise ArgumentError("code_length", code_length, ": give a number above 0.")


def code_threshold(run: Run, code_length: float) -> float:
    """`metrics.cut_threshold` for the codes of a run's training images.

    It is read from the run's evaluation, or from where it was stored; otherwise, the training
    images that a probe is trained on are encoded, and it is stored in the run's folder. Where these
    images are gone, it is the one that was found on other data, with a warning.

    Args:
        run: the run.
        code_length: active entries per image, above 0.

    Raises:
        InputError: if no threshold is stored and the training images cannot be encoded.
    """
    check_code_length(code_length)
    data = _data_of(run)
    known = _stored(run, code_length) | _evaluated(run, code_length)
    if data not in known:
        model = load_model(run)
        try:
            codes = _training_codes(run, model)
        except InputError as error:
            if not known:
                raise InputError(
                    f"code_length={code_length:g}: no threshold is stored with {run.folder}, and "
                    f"its training images cannot be encoded: {error} This command finds and stores "
                    f"one: solo-bayesncl explain {run.checkpoint} --code-length {code_length:g} "
                    "--data DIR"
                ) from error
            data = list(known)[-1]
            _logger.warning(
                "code_length=%g: the training images of %s cannot be encoded: %s The threshold is "
                "the one that was found on those of %s.", code_length, run.folder, error, data,
            )  # fmt: skip
        else:
            known[data] = threshold_of(codes, code_length)
            store_threshold(run, data, code_length, known[data])
    warn_unless_reached(code_length, known[data])
    return known[data]


def _data_of(run: Run) -> str:
    """The run's own data as an evaluation names them; without validation images, its training."""
    return str(run.cfg.data.get("val_path") or run.cfg.data.get("train_path"))


def threshold_of(train_codes: Tensor, code_length: float) -> float:
    """`metrics.cut_threshold`; raises `ArgumentError` for a length or codes that cannot be used."""
    check_code_length(code_length)
    if not probes.are_finite(train_codes):
        raise ArgumentError(
            "code_length", code_length,
            ": the codes of the training images are not finite, as the model diverged. Leave the "
            "length out.",
        )  # fmt: skip
    return cut_threshold(train_codes, code_length)


def warn_unless_reached(code_length: float, threshold: float) -> None:
    """Logs that a threshold of 0 cuts nothing."""
    if threshold == 0:
        message = "code_length=%g: the codes are no longer than that as trained; nothing is cut."
        _logger.warning(message, code_length)


def store_threshold(run: Run, data: str, code_length: float, threshold: float) -> None:
    """Keeps a threshold in the run's folder, if that can be written.

    Args:
        run: the run.
        data: the validation images, or the folder of `--data`, beside the training images that it
            was found on: as in `evaluation.json`.
        code_length, threshold: of `metrics.cut_threshold`.
    """
    key = _key(run, code_length) | {"data": data}
    others = [entry for entry in _entries(run) if not key.items() <= entry.items()]
    entry = {"checkpoint": run.checkpoint.name, **key, "threshold": threshold}
    try:
        files.write_json(run.folder / THRESHOLDS, {"thresholds": [*others, entry]})
    except OSError as error:
        _logger.warning(
            "The threshold of code_length=%g is not stored, and will be searched for again: %s.",
            code_length, error,
        )  # fmt: skip


def _training_codes(run: Run, model: nn.Module) -> Tensor:
    """(R, D) codes, on the CPU, of the images that an evaluation of the run finds thresholds on."""
    with data_errors_as_input_errors(run.cfg):
        loader = _training_loader(run.cfg)
        rows = probes.training_rows(labels_of(loader.dataset)).tolist()
        _logger.info("Encoding %d training images of %s, once.", len(rows), run.folder)
        chosen = DataLoader(
            loader.dataset, loader.batch_size, sampler=rows, **worker_options(loader)
        )
        readable = ReadableLoader.like(chosen, UnreadableImages(Reading.of(run.cfg.data)))
        device = Options().torch_device
        precision = resolve_precision(Options().precision, run.cfg.get("precision"), device)
        batches = outputs_by_batch(model, readable, device, precision, "training images")
        return torch.cat([outputs["codes"].cpu() for outputs, _ in batches])


def _training_loader(cfg: DictConfig) -> DataLoader:
    """Of all training images without augmentation; folders need neither labels nor validation."""
    if not has_folders(cfg):
        return evaluation_loaders(cfg, Options())[0]
    path = cfg.data.get("train_path")
    if path is None or not Path(path).exists():
        raise InputError(f"data.train_path={path} does not exist.")
    transform = evaluation_transform(cfg.data.dataset, cfg.augmentations[0])
    return DataLoader(training_images(cfg, transform), **loader_options(cfg))


def _evaluated(run: Run, code_length: float) -> dict[str, float]:
    """Data -> threshold, of the evaluation of this checkpoint, if that has this length.

    A comparison keeps it two folders above the run's, where it may be that of another run.
    """
    length = str(float(code_length)).removesuffix(".0")
    checkpoint = run.folder.resolve() / run.checkpoint.name
    for folder, depth in ((run.folder, 1), (checkpoint.parent.parent.parent, 3)):
        try:
            evaluation = files.read_json(folder / "evaluation.json")
            threshold = evaluation["code_lengths"][length]["threshold"]
            of_checkpoint = Path(evaluation["checkpoint"]).parts[-depth:]
            is_of_run = of_checkpoint == checkpoint.parts[-depth:]
            if is_of_run and "codes" not in evaluation["not_finite"]:
                return {evaluation["data"]: threshold or 0.0}  # None where it is not reached
        except (InputError, KeyError, TypeError):  # damaged, older or, a TypeError, none
            continue
    return {}


def _stored(run: Run, code_length: float) -> dict[str, float]:
    """Data -> threshold, as `store_threshold` has kept them."""
    entries = _entries(run)
    key = _key(run, code_length) if entries else {}
    return {e["data"]: e["threshold"] for e in entries if key.items() <= e.items()}


def _entries(run: Run) -> list[dict[str, Any]]:
    try:
        entries = (files.read_json(run.folder / THRESHOLDS) or {}).get("thresholds")
    except InputError:  # damaged: it is written anew
        return []
    kinds = {"data": str, "threshold": float}
    return [
        entry
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict)
        and all(isinstance(entry.get(name), kind) for name, kind in kinds.items())
    ]


def _key(run: Run, code_length: float) -> dict[str, Any]:
    """What a threshold is for; the digest is of all that the codes depend on."""
    content = (run.folder / "args.json").read_bytes() + run.checkpoint.read_bytes()
    return {"model": hashlib.sha256(content).hexdigest(), "code_length": float(code_length)}
