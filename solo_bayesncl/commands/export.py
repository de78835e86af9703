"""Writes a pretrained model for torchvision, timm, safetensors or ONNX, and checks the file."""

import argparse
from pathlib import Path
from typing import Any

from solo_bayesncl import runs
from solo_bayesncl.console import results as console
from solo_bayesncl.errors import InputError
from solo_bayesncl.files import expand_home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=expand_home, help="a .ckpt file or the folder of a run")
    parser.add_argument(
        "--format",
        required=True,
        help="torchvision: a ResNet backbone, images to features, as a state_dict; timm: the "
        "backbone, images to features, for timm.create_model; safetensors: backbone and heads, "
        "images to codes; onnx: the same as a graph that runs without torch",
    )
    parser.add_argument(
        "--out", type=expand_home, required=True, metavar="FILE", help="the file to write"
    )
    parser.add_argument(
        "--code-length",
        type=float,
        metavar="L",
        help="safetensors and onnx: cut the codes to L active entries per image, on average over "
        "the training images (default: codes as trained)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")


def run(args: argparse.Namespace) -> int:
    """Runs the command: writes FILE and FILE.json, and prints how to load FILE."""
    if args.out.is_dir():
        raise InputError(f"--out {args.out} is a folder: give the name of a file.")
    if args.out.exists() and not args.overwrite:
        raise InputError(f"--out {args.out} exists: give another name, or --overwrite.")

    runs.checkpoint_at(args.checkpoint)  # reports a wrong path before anything slow is imported

    from solo_bayesncl.sharing.export import export_run  # slow to import: --help does not wait

    record = export_run(args.checkpoint, args.format, args.out, args.code_length)
    console.print(_summary(record, args.out))
    return 0


def _summary(record: dict[str, Any], out: Path) -> str:
    agreement, images = record["agreement"], record["images"]
    real = agreement["real"]
    differences = f"{agreement['random']:.2g} on noise, " + (
        "not compared on real images (the run's data are gone)"
        if real is None
        else f"{real:.2g} on validation images"
    )
    if agreement["left_out"]:
        differences += f"; {agreement['left_out']} images left out, with a value at a threshold"
    cut = []
    if record["code_threshold"]:
        length, threshold = record["code_length"], record["code_threshold"]
        cut = [f"Codes are cut to length {length:g}: entries above {threshold:.3g} are kept"]
    lines = [
        f"Written to {out}; these lines and more are in {out.name}.json",
        *cut,
        f"Largest difference from the run's {record['outputs']}: {differences}",
        f"images: {images['shape']}, normalised with mean {images['mean']} and std {images['std']}",
        *(f"    {line}" for line in record["usage"]),
    ]
    return "\n".join(lines)
