"""Describes what single dimensions of a pretrained model mean, and which describe an image."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from solo_bayesncl import runs
from solo_bayesncl.commands import evaluate
from solo_bayesncl.console import results as console
from solo_bayesncl.errors import InputError
from solo_bayesncl.files import expand_home
from solo_bayesncl.outputs import cannot_be_written, check_outputs, is_page, write_together
from solo_bayesncl.text import printable

if TYPE_CHECKING:
    from torch import Tensor

    from solo_bayesncl.evaluation.evaluated_model import EvaluatedModel
    from solo_bayesncl.evaluation.forward import Outputs
    from solo_bayesncl.evaluation.record import Findings

PAGE = "report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    evaluate.add_options(parser)
    parser.add_argument(
        "--image",
        type=expand_home,
        metavar="FILE",
        help="show which dimensions describe this image and which of them the gate closed",
    )
    parser.add_argument(
        "--top", type=int, default=10, metavar="N", help="dimensions to print (default: 10)"
    )
    parser.add_argument(
        "--code-length",
        type=float,
        metavar="L",
        help="explain codes that are cut to L active entries per image, on average over the "
        "training images (default: codes as trained); evaluation.json is of codes as trained",
    )
    parser.add_argument("--out", type=expand_home, metavar="DIR", help="default: the run's folder")


def run(args: argparse.Namespace) -> int:
    """Runs the command: writes the table of dimensions and the page, prints a part of it."""
    if args.top < 1:
        raise InputError(f"--top {args.top}: give an integer of at least 1.")
    if args.image is not None and not args.image.is_file():
        raise InputError(f"--image {args.image} is not a file.")
    run_ = runs.Run.open(args.checkpoint)
    options = evaluate.options_of(args)
    _ = options.torch_device
    out = args.out or run_.folder

    from solo_bayesncl.data.images import pixel_limit, read_image
    from solo_bayesncl.evaluation.code_thresholds import check_code_length, store_threshold
    from solo_bayesncl.evaluation.encoding import encode_splits
    from solo_bayesncl.evaluation.explanation import describe_image
    from solo_bayesncl.evaluation.record import Findings
    from solo_bayesncl.training.environment import prepare_solo_learn

    check_code_length(args.code_length)
    _check(out)
    if args.image is not None:  # refused before the work
        limit = options.max_image_pixels or run_.cfg.data.get("max_image_pixels")
        with pixel_limit(limit):
            read_image(args.image)
    prepare_solo_learn()
    model = encode_splits(args.checkpoint, options)
    described = None if args.image is None else describe_image(model, args.image)
    findings = Findings.of(model, args.code_length)
    table = findings.explanation.table
    # before anything is written, which may fail
    if table["code_threshold"]:
        console.print(
            f"Codes are cut to length {args.code_length:g}: entries above "
            f"{table['code_threshold']:.3g} are kept."
        )
    if described is None:
        console.print(_overview(table, args.top))
    else:
        for part in _image_tables(model, table, described, args.image, args.top):
            console.print(part)
    _write(out, findings, run_)
    if args.code_length is not None:
        data = findings.evaluation["data"]
        store_threshold(model.run, data, args.code_length, table["code_threshold"])
    console.print(f"All dimensions: {out / PAGE} (dimensions.csv and .json beside it)")
    return 0


def _check(out: Path) -> None:
    """Raises `ArgumentError` unless the files can be written, and replace none of the user's."""
    from solo_bayesncl.evaluation.record import FINDINGS, is_finding

    def is_ours(path: Path) -> bool:
        return is_page(path) if path.name == PAGE else is_finding(path)

    check_outputs("out", out, [out / name for name in (*FINDINGS, PAGE)], is_ours)


def _write(out: Path, findings: "Findings", run_: "runs.Run") -> None:
    """Writes the table of dimensions, the evaluation and the page of both."""
    from solo_bayesncl.evaluation.explanation import DIMENSIONS
    from solo_bayesncl.report.page import write_page
    from solo_bayesncl.report.run import RunReport

    try:
        with write_together(out, record=DIMENSIONS) as folder:
            findings.write(folder)
            write_page(folder / PAGE, [RunReport.read(folder, record=run_.folder)])
    except OSError as error:
        raise cannot_be_written("out", out, error) from error


def _overview(table: dict[str, Any], top: int) -> Table:
    """Dimensions spread evenly from the most to the least consistent one.

    Without labels, from the most to the least monosemantic one.
    """
    rank = _rank(table)
    live = [d for d in table["dimensions"] if d["support"] > 0]
    live.sort(key=lambda d: (-(d[rank] or 0), -d["support"], d["index"]))
    count = min(top, len(live))
    chosen = [live[round(i * (len(live) - 1) / max(count - 1, 1))] for i in range(count)]
    dead = len(table["dimensions"]) - len(live)
    printed = Table(
        title=f"{count} of {len(live)} live dimensions, from the highest to the lowest {rank}; "
        f"{dead} are dead"
    )
    for heading in ("dimension", "mostly", rank, "active on", "gate open on"):
        printed.add_column(heading, justify="right")
    for dimension in chosen:
        printed.add_row(
            str(dimension["index"]),
            _owner(table, dimension),
            _rank_cell(dimension, rank),
            _percent(dimension["density"]),
            _percent(dimension["open_rate"]),
        )
    return printed


def _image_tables(
    model: "EvaluatedModel", table: dict[str, Any], image: "Outputs", path: Path, top: int
) -> list[Table | str]:
    """The dimensions of an image's code, and those that its gate closed, strongest first."""
    from solo_bayesncl.metrics import apply_cut
    from solo_bayesncl.sharing.encoder import strongest

    codes, projections = image.codes[0], image.projections[0]
    if table["code_threshold"]:
        codes = apply_cut(codes, table["code_threshold"])
    described = strongest(codes)
    classes = table["classes"] if model.classifier_fits else None
    parts: list[Table | str] = [f"{path}:"]
    if table["classes"]:
        parts = [f"{path}: the online classifier says {_prediction(image.logits[0], classes)}."]
    if not codes.isfinite().all():
        return [*parts, "Its code is not finite: the model diverged."]
    parts.append(
        _of_image(table, f"{len(described)} active dimensions", described[:top], codes, image)
    )
    if image.mask is not None:
        closed = [i for i in strongest(projections) if image.mask[0, i] == 0]
        title = f"{len(closed)} active dimensions that the gate closed"
        parts.append(_of_image(table, title, closed[:top], projections, image))
    return parts


def _prediction(logits: "Tensor", classes: Sequence[str] | None) -> str:
    if not logits.isfinite().all():
        return "nothing, its outputs are not finite"
    label = int(logits.argmax())
    return f"class {label} of its training" if classes is None else printable(classes[label])


def _of_image(table: dict[str, Any], title: str, indexes: list[int], values, image) -> Table:
    printed = Table(title=title)
    rank = _rank(table)
    for heading in ("dimension", "activation", "mostly", rank, "active on", "P(open)"):
        printed.add_column(heading, justify="right")
    for index in indexes:
        dimension = table["dimensions"][index]
        printed.add_row(
            str(index),
            f"{values[index]:.3f}",
            _owner(table, dimension),
            _rank_cell(dimension, rank),
            _percent(dimension["density"]),
            "-" if image.probs is None else f"{image.probs[0, index]:.2f}",
        )
    return printed


def _owner(table: dict[str, Any], dimension: dict[str, Any]) -> str:
    owner = dimension["owner"]
    if owner is None:
        return "nothing" if table["classes"] else "-"
    return printable(table["classes"][owner])


def _rank(table: dict[str, Any]) -> str:
    """The number by which dimensions are judged: without labels, there is no consistency."""
    return "consistency" if table["classes"] else "monosemanticity"


def _rank_cell(dimension: dict[str, Any], rank: str) -> str:
    if rank == "consistency":
        return _percent(dimension[rank])
    return "-" if dimension[rank] is None else f"{dimension[rank]:.2f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
