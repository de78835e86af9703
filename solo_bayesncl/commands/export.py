"""Writes a pretrained model for torchvision, timm, safetensors or ONNX, and checks the file."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from solo_bayesncl import files, runs
from solo_bayesncl.console import results as console
from solo_bayesncl.errors import InputError, require_one_of

if TYPE_CHECKING:
    from torch import Tensor

FORMATS = {
    "torchvision": "the ResNet backbone, images to features: a state_dict",
    "timm": "the backbone, images to features: a file for timm.create_model",
    "safetensors": "backbone and heads, images to codes",
    "onnx": "the same as a graph that runs without torch",
}
REAL_IMAGES = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", help="a .ckpt file or the folder of a run")
    parser.add_argument(
        "--format",
        required=True,
        help="; ".join(f"{name}: {what}" for name, what in FORMATS.items()),
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")


def run(args: argparse.Namespace) -> int:
    """The command: writes FILE and FILE.json, and prints how FILE is used."""
    require_one_of(args.format, FORMATS, "--format")
    if args.out.is_dir():
        raise InputError(f"--out {args.out} is a folder: give the name of a file.")
    if args.out.exists() and not args.overwrite:
        raise InputError(f"--out {args.out} exists: give another name, or --overwrite.")
    run_ = runs.Run.open(args.checkpoint)

    from solo_bayesncl.evaluation.record import versions
    from solo_bayesncl.sharing import export as exporting
    from solo_bayesncl.sharing.encoder import Encoder
    from solo_bayesncl.training.environment import prepare_solo_learn

    exporting.require_installed(args.format)
    prepare_solo_learn()
    encoder = Encoder.load(args.checkpoint, precision="32-true")
    agreement = exporting.export(encoder, args.format, args.out, _real_images(run_))
    chosen = exporting.FORMATS[args.format]
    usage = chosen.usage(encoder, args.out)
    normalize = encoder.transform.own.transforms[-1]
    record = {
        "format": args.format,
        "outputs": "codes" if chosen.part == "encoder" else "features",
        "usage": usage,
        "images": {
            "shape": ["N", *exporting.image_shape(encoder)],
            "mean": list(normalize.mean),
            "std": list(normalize.std),
        },
        "agreement": vars(agreement),
        "checkpoint": str(run_.checkpoint),
        "settings": encoder.settings,
        "versions": versions(),
    }
    files.write_json(args.out.with_name(f"{args.out.name}.json"), record)
    console.print(_summary(agreement, record, args.out), markup=False)
    return 0


def _real_images(run_: runs.Run) -> "Tensor | None":
    """Some validation images of the run's own data, None where these are gone."""
    import torch

    from solo_bayesncl.evaluation.encoding import labelled_loaders
    from solo_bayesncl.evaluation.options import Options
    from solo_bayesncl.runs.models import training_classes

    if training_classes(run_.cfg) is None:
        return None
    try:
        images = labelled_loaders(run_.cfg, Options(workers=0))[1].dataset
        places = torch.linspace(0, len(images) - 1, REAL_IMAGES).long().unique().tolist()
        return torch.stack([images[place][0] for place in places])
    except InputError:
        return None


def _summary(agreement, record: dict, out: Path) -> str:
    real = agreement.real
    differences = f"{agreement.random:.2g} on noise, " + (
        "not compared on real images (the run's data are gone)"
        if real is None
        else f"{real:.2g} on validation images"
    )
    if agreement.left_out:
        differences += f"; {agreement.left_out} images left out, with a gate at its threshold"
    lines = [
        f"Written to {out}; what is said here and more is in {out.name}.json",
        f"Largest difference from the run's {record['outputs']}: {differences}",
        f"images: {record['images']['shape']}, normalised with mean {record['images']['mean']} "
        f"and std {record['images']['std']}",
        *(f"    {line}" for line in record["usage"]),
    ]
    return "\n".join(lines)
