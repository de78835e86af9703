"""Measures a pretrained model: interpretability of its codes, accuracy, retrieval."""

import argparse
from dataclasses import fields

from solo_bayesncl import runs
from solo_bayesncl.console import results as console
from solo_bayesncl.evaluation.options import Options
from solo_bayesncl.files import expand_home
from solo_bayesncl.precision import AS_TRAINED, PRECISIONS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser)
    parser.add_argument(
        "--out",
        type=expand_home,
        metavar="FILE",
        help="default: evaluation.json in the run's folder",
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `evaluate` and `explain` share."""
    parser.add_argument("checkpoint", type=expand_home, help="a .ckpt file or the folder of a run")
    parser.add_argument(
        "--data",
        type=expand_home,
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
        type=expand_home,
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
        "--reference-weights",
        type=expand_home,
        metavar="FILE",
        help="its weights (default: timm's)",
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
    parser.add_argument(
        "--quick",
        action="store_true",
        help="without the linear probes of the codes, which take most of the time beside the model",
    )


def options_of(args: argparse.Namespace) -> Options:
    """The options as given; raises `InputError` for wrong ones."""
    return Options(**{field.name: getattr(args, field.name) for field in fields(Options)})


def run(args: argparse.Namespace) -> int:
    """Runs the command: prints the table and writes the JSON file."""
    run_ = runs.Run.open(args.checkpoint)  # reports a wrong path before solo-learn is imported
    options = options_of(args)
    _ = options.torch_device

    from solo_bayesncl.evaluation import record
    from solo_bayesncl.evaluation.encoding import encode_splits
    from solo_bayesncl.report.tables import evaluation_table, length_table
    from solo_bayesncl.training.environment import prepare_solo_learn

    target = args.out or run_.folder / record.EVALUATION
    record.check_evaluation(target)
    prepare_solo_learn()
    result = record.evaluation_of(encode_splits(args.checkpoint, options))
    # before it is written, which may fail
    console.print(evaluation_table({result["method"]: result}))
    console.print(length_table(result))
    record.write_evaluation(result, target)
    console.print(f"Written to {target}")
    return 0
