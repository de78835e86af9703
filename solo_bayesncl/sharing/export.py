"""Writes trained models for other libraries; keeps a file if it computes what the model does.

Users load a file with the lines of `Format.usage`; the comparison calls `Format.load`, and the
tests run the lines to show that both are the same.
"""

import logging
import textwrap
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from solo_bayesncl import files, runs
from solo_bayesncl.data.unreadable import ReadableSamples, Reading
from solo_bayesncl.errors import ArgumentError, InputError
from solo_bayesncl.evaluation.code_thresholds import check_code_length
from solo_bayesncl.evaluation.encoding import evaluation_loaders
from solo_bayesncl.evaluation.options import Options
from solo_bayesncl.evaluation.record import versions
from solo_bayesncl.outputs import cannot_be_written, check_outputs, is_record
from solo_bayesncl.runs.models import training_classes
from solo_bayesncl.sharing.encoder import CUT, Encoder
from solo_bayesncl.sharing.formats import FORMATS
from solo_bayesncl.sharing.formats.base import Format
from solo_bayesncl.sharing.loading import load_encoder
from solo_bayesncl.training.environment import prepare_solo_learn

_logger = logging.getLogger(__name__)

# largest difference from the model's outputs, absolute or relative to the largest of them
TOLERANCE = 1e-4
# another library's rounding can take a gate, or an entry that is cut, across a threshold this close
THRESHOLD_MARGIN = 1e-5
NUM_IMAGES = 8  # of noise, and of the run's data


@dataclass(frozen=True)
class Agreement:
    """Differences between a written file and its model.

    Attributes:
        random: largest absolute difference of outputs on noise images.
        real: the same on images of the run's data, None without such images.
        left_out: images not compared, because one of their gates, or of the entries that the cut
            keeps or drops, is too close to its threshold.
    """

    random: float
    real: float | None
    left_out: int


def export_run(
    checkpoint: str | Path, format_name: str, out: Path, code_length: float | None = None
) -> dict[str, Any]:
    """Exports a run's model to the file `out`, and a record of it to `out` with `.json` added.

    Args:
        checkpoint: a .ckpt file or the folder of a run.
        format_name: one of `FORMATS`.
        out: the file to write, replaced if it exists.
        code_length: as in `solo_bayesncl.load_encoder`.

    Returns:
        The record: usage, size and normalisation of images, the cut, agreement, settings and
        versions.

    Raises:
        InputError: for a checkpoint or format that cannot be used, and as `export`.
    """
    if format_name not in FORMATS:
        choices = ", ".join(FORMATS)
        raise ArgumentError("format", format_name, f" is not known. Choose one of: {choices}.")
    check_code_length(code_length)
    if code_length is not None and FORMATS[format_name].outputs != "codes":
        raise ArgumentError(
            "code_length", code_length,
            f": {format_name} holds the backbone, which has no codes to cut. Choose the format "
            "safetensors or onnx, or leave the length out.",
        )  # fmt: skip
    run = runs.Run.open(checkpoint)
    _check_out(out, run)
    FORMATS[format_name].require_installed()
    prepare_solo_learn()
    encoder = load_encoder(run.checkpoint, "32-true", code_length)
    file_format = FORMATS[format_name](encoder)
    agreement = export(encoder, format_name, out, _real_images(run))
    normalize = encoder.transform.own.transforms[-1]
    record = {
        "format": format_name,
        "outputs": file_format.outputs,
        "usage": file_format.usage(out),
        "images": {
            "shape": ["N", *file_format.image_shape],
            "mean": list(normalize.mean),
            "std": list(normalize.std),
        },
        **{name: getattr(encoder, name) for name in CUT},
        "agreement": asdict(agreement),
        "checkpoint": str(run.checkpoint),
        "settings": encoder.settings,
        "versions": versions(),
    }
    try:
        files.write_json(record_of(out), record)
    except OSError as error:
        out.unlink()
        raise cannot_be_written("out", record_of(out), error) from error
    return record


def record_of(out: Path) -> Path:
    """The record of an exported file."""
    return out.with_name(f"{out.name}.json")


def _check_out(out: Path, run: runs.Run) -> None:
    """Raises `ArgumentError` unless the file and its record can be written, beside the run."""
    own = [path for path in (run.checkpoint, run.folder / "args.json") if path.exists()]
    if any(out.exists() and out.samefile(path) for path in own):
        raise ArgumentError("out", out, " is the run itself. Give another file.")
    is_old = partial(is_record, keys=("format", "agreement"), if_damaged=False)
    check_outputs("out", out, [out, record_of(out)], lambda path: path == out or is_old(path))


def export(
    encoder: Encoder, format_name: str, out: Path, real_images: Tensor | None = None
) -> Agreement:
    """Writes a file, loads it with the library that it is for, and compares.

    Args:
        encoder: the model, on the CPU.
        format_name: one of `FORMATS`.
        out: the file to write, replaced if it exists.
        real_images: (N, 3, H, W), normalised, compared besides noise.

    Raises:
        InputError: if the format cannot hold the model, the file cannot be written, or its outputs
            differ from the model's; no file is left then.
    """
    file_format = FORMATS[format_name](encoder)
    content = file_format.content(out)
    file_format.usage(out)  # raises for settings that the lines cannot hold
    try:
        return files.write_bytes(
            out, content, check=lambda written: _compare(file_format, written, real_images)
        )
    except OSError as error:
        raise cannot_be_written("out", out, error) from error


def _real_images(run: runs.Run) -> Tensor | None:
    """(up to 8, 3, H, W) validation images of the run's data, None if these are gone.

    Those that cannot be read are named in a warning.
    """
    if training_classes(run.cfg) is None:
        return None
    try:
        images = evaluation_loaders(run.cfg, Options(workers=0))[1].dataset
    except InputError:
        return None
    samples = ReadableSamples(images, Reading.of(run.cfg.data))
    indexes = torch.linspace(0, len(images) - 1, NUM_IMAGES).long().unique().tolist()
    read = []
    for index in indexes:
        sample, failures = samples[index]
        if sample is not None:
            read.append(sample[0])
        for error in failures.values():
            _logger.warning("%s It is not compared.", error)
    return torch.stack(read) if read else None


@torch.no_grad()
def _compare(file_format: Format, written: Path, real_images: Tensor | None) -> Agreement:
    """Loads the written file and compares; raises `InputError` where it differs from the model."""
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(NUM_IMAGES, *file_format.image_shape, generator=generator)]
    if real_images is not None:
        batches.append(real_images)
    compared = [_without_undecided(file_format.encoder, images) for images in batches]
    try:
        loaded = file_format.load(written)
        outputs = [loaded(images) for images in compared]
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        raise InputError(
            f"{file_format.name} does not load backbone.name={file_format.backbone_name} with "
            f"backbone.kwargs={file_format.backbone_kwargs} as it was exported: "
            f"{textwrap.shorten(str(error), 300)}{file_format.alternative}"
        ) from error
    differences = [_difference(file_format, *pair) for pair in zip(compared, outputs, strict=True)]
    return Agreement(
        random=differences[0],
        real=None if real_images is None else differences[1],
        left_out=sum(map(len, batches)) - sum(map(len, compared)),
    )


def _without_undecided(encoder: Encoder, images: Tensor) -> Tensor:
    """The images without a value on a threshold; all of them if each image has one."""
    encoding, options = (
        encoder.encode(images, cut=False),
        getattr(encoder.model, "code_options", {}),
    )
    distances = []
    if encoding.probs is not None and options.get("gate_type") != "soft":
        distances.append(encoding.probs - options["gate_threshold"])
    if encoder.code_threshold:
        distances.append(encoding.codes.abs() - encoder.code_threshold)
    decided = torch.ones(len(images), dtype=torch.bool)
    for distance in distances:
        decided &= (distance.abs() > THRESHOLD_MARGIN).all(dim=1)
    return images[decided] if decided.any() else images


def _difference(file_format: Format, images: Tensor, outputs: Tensor) -> float:
    """Largest difference of a file's outputs from the model's; raises `InputError` if too large."""
    encoder = file_format.encoder
    is_encoder = file_format.outputs == "codes"
    expected = encoder(images) if is_encoder else encoder.model(images)["feats"]
    tolerance = TOLERANCE * max(1.0, float(expected.abs().max()))
    difference = torch.inf
    if outputs.shape == expected.shape:
        difference = float((outputs - expected).abs().max())
    if not difference <= tolerance:  # nan, too
        raise InputError(
            f"The outputs of {file_format.name} with the written file differ from the model's by "
            f"{difference:.3g}, where at most {tolerance:.3g} is rounding, so the file was not "
            f"kept.{file_format.alternative}"
        )
    return difference
