"""Writes the results of an evaluation: `evaluation.json` and the table of dimensions."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from solo_bayesncl import files
from solo_bayesncl.data.unreadable import NAMED
from solo_bayesncl.errors import InputError
from solo_bayesncl.evaluation.encoding import EvaluatedModel, device_name
from solo_bayesncl.evaluation.explanation import explain
from solo_bayesncl.evaluation.measurement import measure

# increased whenever the same model and options start to give other numbers or files
FORMAT = 5


def write_evaluation(model: EvaluatedModel, target: Path) -> dict[str, Any]:
    """Measures a model and writes the result.

    Args:
        model: a model with its outputs.
        target: the file to write.

    Returns:
        What was written: settings, versions and the numbers of `measure`.

    Raises:
        InputError: if the file cannot be written.
    """
    run = model.run
    result = {
        "format": FORMAT,
        "method": run.cfg.method,
        "name": run.cfg.name,
        "checkpoint": str(run.checkpoint),
        "epoch": run.epoch,
        "optimizer_steps": run.optimizer_steps,
        "data": str(model.options.data or run.cfg.data.val_path),
        "seed": run.cfg.get("seed"),
        "reference": model.options.reference or "the model's own backbone",
        "device": device_name(model.options.torch_device),
        "precision": model.precision,
        "skipped_images": {
            "number": len(model.unreadable.reasons),
            "first": list(model.unreadable.reasons)[:NAMED],
        },
        **measure(model),
        "versions": versions(),
    }
    try:
        files.write_json(target, result)
    except OSError as error:
        raise InputError(f"--out {target} cannot be written: {error}.") from error
    return files.plain(result)


def write_findings(model: EvaluatedModel, folder: Path) -> dict[str, Any]:
    """Writes `evaluation.json`, `dimensions.json`, `dimensions.csv` and `thumbnails.jpg`.

    Returns:
        What `dimensions.json` holds.

    Raises:
        InputError: if the folder cannot be written.
    """
    explanation = explain(model)
    try:
        explanation.write(folder)
    except OSError as error:
        raise InputError(f"--out {folder} cannot be written: {error}.") from error
    write_evaluation(model, folder / "evaluation.json")
    return explanation.table


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    installed = {"python": platform.python_version()}
    for name in (
        "solo-bayesncl", "solo-learn", "torch", "torchvision", "torchmetrics", "scikit-learn",
    ):  # fmt: skip
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = "not installed"
    return installed
