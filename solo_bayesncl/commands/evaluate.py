"""Measures a pretrained model: interpretability of its codes, accuracy, retrieval."""

import argparse
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solo_bayesncl import files
from solo_bayesncl.console import results as console
from solo_bayesncl.errors import InputError
from solo_bayesncl.evaluation.options import Options
from solo_bayesncl.precision import AS_TRAINED, PRECISIONS
from solo_bayesncl.runs import run as runs

if TYPE_CHECKING:
    pass

# raised whenever the same model and options start to give other numbers or files
FORMAT = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="default: evaluation.json in the run's folder"
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `evaluate` and `explain` share."""
    parser.add_argument("checkpoint", help="a .ckpt file or the folder of a run")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder with train/ and val/, in each a folder per class (default: the run's data)",
    )
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (default: auto)"
    )
    parser.add_argument(
        "--precision",
        default=AS_TRAINED,
        help=f"of the model: {', '.join(PRECISIONS)}, or auto: on a GPU as it was trained, 32-true "
        "on the CPU (default: auto)",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="loader processes")
    parser.add_argument(
        "--metadata",
        type=Path,
        metavar="CSV",
        help="a column `path` and one per known factor of the validation images "
        "(default: metadata.csv beside their folder, if there is one)",
    )
    parser.add_argument(
        "--reference",
        metavar="MODEL",
        help="timm model whose features judge monosemanticity (default: the run's own backbone)",
    )
    parser.add_argument(
        "--reference-weights", type=Path, metavar="FILE", help="its weights (default: timm's)"
    )


def options_of(args: argparse.Namespace) -> Options:
    """The options as given; raises `InputError` for wrong ones."""
    return Options(
        data=args.data,
        device=args.device,
        precision=args.precision,
        workers=args.workers,
        metadata=args.metadata,
        reference=args.reference,
        reference_weights=args.reference_weights,
    )


def run(args: argparse.Namespace) -> int:
    """The command: prints the table and writes the JSON file."""
    from solo_bayesncl.report.tables import evaluation_table

    runs.Run.open(args.checkpoint)  # what is wrong is told before anything slow is imported
    options = options_of(args)
    _ = options.torch_device
    subject = encode_splits(args.checkpoint, options)
    target = args.out or subject.run.folder / "evaluation.json"
    result = evaluate(subject, target)
    console.print(evaluation_table({result["method"]: result}))
    console.print(f"Written to {target}", markup=False)
    return 0


def encode_splits(checkpoint: str | Path, options: Options) -> "EvaluatedModel":
    """`solo_bayesncl.evaluation.encode.encode_splits` without the libraries' noise."""
    from solo_bayesncl.evaluation import encode as evaluation
    from solo_bayesncl.training import trainer as training

    training.prepare_host()
    return evaluation.encode_splits(checkpoint, options)


def evaluate(subject: "EvaluatedModel", target: Path) -> dict[str, Any]:
    """Measures a model and writes the result.

    Args:
        subject: the model with what it says of its data.
        target: the file to write.

    Returns:
        What was written: settings, versions and the numbers of `measure`.

    Raises:
        InputError: if the file cannot be written.
    """
    from solo_bayesncl.evaluation import encode as evaluation

    run_ = subject.run
    result = {
        "format": FORMAT,
        "method": run_.cfg.method,
        "name": run_.cfg.name,
        "checkpoint": str(run_.checkpoint),
        "epoch": run_.epoch,
        "optimizer_steps": run_.optimizer_steps,
        "data": str(subject.options.data or run_.cfg.data.val_path),
        "seed": run_.cfg.get("seed"),
        "reference": subject.options.reference or "the model's own backbone",
        "device": evaluation.device_name(subject.options.torch_device),
        "precision": subject.precision,
        **evaluation.measure(subject),
        "versions": versions(),
    }
    try:
        files.write_json(target, result)
    except OSError as error:
        raise InputError(f"--out {target} cannot be written: {error}.") from error
    return files.plain(result)


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {"python": platform.python_version()}
    for name in (
        "solo-bayesncl", "solo-learn", "torch", "torchvision", "torchmetrics", "scikit-learn",
    ):  # fmt: skip
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
