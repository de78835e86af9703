"""Measures a pretrained model: interpretability of its codes, accuracy, retrieval."""

import argparse
from dataclasses import fields
from pathlib import Path

from solo_bayesncl.console import results as console
from solo_bayesncl.evaluation.options import Options
from solo_bayesncl.precision import AS_TRAINED, PRECISIONS
from solo_bayesncl.runs import Run


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
    parser.add_argument(
        "--on-corrupt",
        metavar="stop|skip",
        help="whether images that cannot be read stop the evaluation or are left out (default: as "
        "in training)",
    )
    parser.add_argument(
        "--max-image-pixels",
        type=int,
        metavar="N",
        help="largest number of pixels of an image (default: as in training)",
    )


def options_of(args: argparse.Namespace) -> Options:
    """The options as given; raises `InputError` for wrong ones."""
    return Options(**{field.name: getattr(args, field.name) for field in fields(Options)})


def run(args: argparse.Namespace) -> int:
    """Runs the command: prints the table and writes the JSON file."""
    run_ = Run.open(args.checkpoint)  # reports a wrong path before solo-learn is imported
    options = options_of(args)
    _ = options.torch_device
    target = args.out or run_.folder / "evaluation.json"

    from solo_bayesncl.evaluation import encode_splits, write_evaluation
    from solo_bayesncl.report.tables import evaluation_table
    from solo_bayesncl.training.environment import prepare_solo_learn

    prepare_solo_learn()
    result = write_evaluation(encode_splits(args.checkpoint, options), target)
    console.print(evaluation_table({result["method"]: result}))
    console.print(f"Written to {target}", markup=False)
    return 0
