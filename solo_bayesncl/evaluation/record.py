"""What is written of an evaluation: `evaluation.json` and the table of dimensions."""

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from solo_bayesncl import files
from solo_bayesncl.data.unreadable import NAMED
from solo_bayesncl.evaluation.devices import device_name
from solo_bayesncl.evaluation.evaluated_model import EvaluatedModel
from solo_bayesncl.evaluation.explanation import DIMENSIONS, FILES, Explanation, explain
from solo_bayesncl.evaluation.measurement import measure
from solo_bayesncl.outputs import cannot_be_written, check_outputs, is_record
from solo_bayesncl.text import for_display

EVALUATION = "evaluation.json"
FINDINGS = (*FILES, EVALUATION)

# increased whenever the same model and options start to give other numbers or files
FORMAT = 7


def evaluation_of(model: EvaluatedModel) -> dict[str, Any]:
    """What `evaluation.json` holds: settings, versions and the numbers of `measure`."""
    run = model.run
    result = {
        "format": FORMAT,
        "method": run.cfg.method,
        "name": run.cfg.name,
        "checkpoint": str(run.checkpoint),
        "epoch": run.epoch,
        "optimizer_steps": model.optimizer_steps,
        "data": str(model.options.data or run.cfg.data.val_path),
        "seed": run.cfg.get("seed"),
        "reference": model.options.reference or "the model's own backbone",
        "device": device_name(model.options.torch_device),
        "precision": model.precision,
        "quick": model.options.quick,
        "skipped_images": {
            "number": len(model.unreadable.reasons),
            "first": list(model.unreadable.reasons)[:NAMED],
        },
        **measure(model),
        "versions": versions(),
    }
    if model.control is not None:
        result |= {"name": model.control["name"], "control": model.control}
    return for_display(files.plain(result))


@dataclass(frozen=True)
class Findings:
    """What is known of a model: its numbers and its dimensions.

    Attributes:
        evaluation: what `evaluation.json` holds, always of the codes as trained.
        explanation: the dimensions, of codes as trained or cut.
    """

    evaluation: dict[str, Any]
    explanation: Explanation

    @classmethod
    def of(cls, model: EvaluatedModel, code_length: float | None = None) -> "Findings":
        """Measures and explains; `code_length` is that of `explain`."""
        explanation = explain(model, code_length)  # first, as it may refuse the length
        return cls(evaluation_of(model), explanation)

    def write(self, folder: Path) -> None:
        """Writes `FINDINGS`."""
        self.explanation.write(folder)
        files.write_json(folder / EVALUATION, self.evaluation)


def check_evaluation(target: Path) -> None:
    """Raises `ArgumentError` unless an evaluation can be written to the file `target`."""
    check_outputs("out", target, [target], _is_evaluation)


def _is_evaluation(path: Path) -> bool:
    in_run = path.name == EVALUATION and path.with_name("args.json").is_file()
    return is_record(path, ("method", "codes"), if_damaged=in_run)


def write_evaluation(result: dict[str, Any], target: Path) -> None:
    """Writes what `evaluation_of` returns; raises `ArgumentError` if that fails."""
    try:
        files.write_json(target, result)
    except OSError as error:
        raise cannot_be_written("out", target, error) from error


def is_finding(path: Path) -> bool:
    """Whether a file with one of the names of `FINDINGS` is an earlier one of this program.

    A run's folder belongs to the program; elsewhere the table of dimensions, written first, tells.
    """
    if path.name == EVALUATION:
        return _is_evaluation(path)
    record = path.with_name(DIMENSIONS)
    if path != record and path.with_name("args.json").is_file():
        return True
    return record.is_file() and is_record(record, ("dimensions", "classes"))


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
