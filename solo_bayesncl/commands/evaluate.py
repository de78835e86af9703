"""Measures a pretrained model: interpretability of its codes, accuracy, retrieval."""

import argparse
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from solo_bayesncl import config, files, runs
from solo_bayesncl.console import results as console
from solo_bayesncl.errors import InputError

# rows of the table: words, section, key, format
ROWS = (
    ("semantic consistency", "codes", "semantic_consistency", "percent"),
    ("  with labels shuffled", "codes", "shuffled_label_null", "percent"),
    ("  weighted by active samples", "codes", "weighted_consistency", "percent"),
    ("  dimensions active on 1 % or more", "codes", "support_thresholded_consistency", "percent"),
    ("semantic entropy (sum), nats", "codes", "semantic_entropy_sum", "number"),
    ("active dimensions", "codes", "active_dims", "count"),
    ("active dimensions per sample", "codes", "code_length", "number"),
    ("activation sparsity", "codes", "activation_sparsity", "percent"),
    ("effective rank", "codes", "effective_rank", "number"),
    ("kNN top-1, backbone", "accuracy", "knn_backbone", "percent100"),
    ("kNN top-1, codes", "accuracy", "knn_codes", "percent100"),
    ("online linear classifier top-1", "accuracy", "online_classifier", "percent100"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument("--workers", type=int, metavar="N", help="loader processes")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="default: evaluation.json in the run's folder"
    )


def run(args: argparse.Namespace) -> int:
    """The command: prints the table and writes the JSON file."""
    result = evaluate(args.checkpoint, args.data, args.device, args.workers, args.out)
    console.print(comparison_table({result["method"]: result}))
    console.print(f"Written to {result['written_to']}", markup=False)
    return 0


def evaluate(
    checkpoint: str | Path,
    data: Path | None = None,
    device: str = "auto",
    workers: int | None = None,
    out: Path | None = None,
) -> dict[str, Any]:
    """Evaluates a checkpoint and writes `evaluation.json`.

    Args:
        checkpoint: a .ckpt file or the folder of a run.
        data: folder with `train/` and `val/` to use instead of the run's own data.
        device: auto, or torch's name of a device.
        workers: loader processes, by default as in training.
        out: the file to write, by default `evaluation.json` in the run's folder.

    Returns:
        What was written: settings, versions and `solo_bayesncl.evaluation.measure`'s numbers.

    Raises:
        InputError: for a checkpoint, data or device that cannot be used.
    """
    if workers is not None and workers < 0:
        raise InputError(f"--workers {workers}: give an integer of at least 0.")
    run_ = runs.Run.open(checkpoint)
    where = _device(device)

    from solo_bayesncl import evaluation
    from solo_bayesncl.commands import training

    training.silence_noise()
    model = evaluation.load_model(run_)
    train_loader, val_loader = evaluation.labelled_loaders(run_.cfg, data, workers)
    with config.explained_data_errors(run_.cfg):
        train = evaluation.collect(model, train_loader, where, "training images")
        val = evaluation.collect(model, val_loader, where, "validation images")
    # not every data set of the host tells its classes
    classes = getattr(val_loader.dataset, "classes", range(run_.cfg.data.num_classes))
    num_classes = max(len(classes), int(val.labels.max()) + 1)
    result = {
        "method": run_.cfg.method,
        "name": run_.cfg.name,
        "checkpoint": str(run_.checkpoint),
        "epoch": run_.epoch,
        "data": str(data or run_.cfg.data.val_path),
        "seed": run_.cfg.get("seed"),
        **evaluation.measure(train, val, num_classes),
        "versions": versions(),
    }
    target = out or run_.folder / "evaluation.json"
    try:
        files.write_json(target, result)
    except OSError as error:
        raise InputError(f"--out {target} cannot be written: {error}.") from error
    return {**result, "written_to": str(target)}


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--device {name} cannot be used: {reason} Choose auto or cpu.") from error
    return device


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {"python": platform.python_version()}
    for name in ("solo-bayesncl", "solo-learn", "torch", "torchvision", "torchmetrics"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def comparison_table(results: dict[str, dict[str, Any]]) -> Table:
    """The table with a column per model.

    Args:
        results: heading of the column -> what `evaluate` returned.
    """
    samples = {str(result["samples"]) for result in results.values()}
    table = Table(title=f"{', '.join(sorted(samples))} validation images")
    table.add_column("")
    for heading in results:
        table.add_column(heading, justify="right")
    for words, section, key, form in ROWS:
        cells = [_cell(result[section].get(key), form) for result in results.values()]
        table.add_row(words, *cells)
    precision = [
        _cell(list(result["retrieval"].values())[-1]["precision_at_1"], "percent")
        for result in results.values()
    ]
    table.add_row("retrieval precision@1, codes", *precision)
    return table


def _cell(value: float | None, form: str) -> str:
    if value is None or value != value:
        return "-"
    return {
        "percent": f"{100 * value:.1f} %",
        "percent100": f"{value:.1f} %",
        "count": f"{value:.0f}",
        "number": f"{value:.2f}",
    }[form]
