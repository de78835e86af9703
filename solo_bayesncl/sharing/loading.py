"""Loads the encoder of a run or of an exported file, its codes as trained or cut to a length."""

from pathlib import Path

from solo_bayesncl import files, runs
from solo_bayesncl.errors import ArgumentError
from solo_bayesncl.precision import AS_TRAINED, check_precision
from solo_bayesncl.sharing.encoder import Encoder, is_safetensors


def load_encoder(
    path: str | Path, precision: str = AS_TRAINED, code_length: float | None = None
) -> Encoder:
    """Same as `solo_bayesncl.load_encoder`."""
    if code_length is None:
        return Encoder.load(path, precision)

    from solo_bayesncl.evaluation.code_thresholds import (  # an evaluation takes long to import
        check_code_length,
        code_threshold,
    )

    check_precision(precision)
    check_code_length(code_length)
    path = files.expand_home(path)
    if is_safetensors(path):
        encoder = Encoder.load(path, precision)
        _require_length(encoder, code_length, path)
        return encoder
    run = runs.Run.open(path)
    return Encoder.of_run(run, precision, code_length, code_threshold(run, code_length))


def _require_length(encoder: Encoder, code_length: float, path: Path) -> None:
    """Raises `ArgumentError` unless an exported file has this length."""
    if encoder.code_length == code_length:
        return
    holds = "as trained" if encoder.code_length is None else f"of length {encoder.code_length:g}"
    raise ArgumentError(
        "code_length", code_length,
        f": {path} was exported with codes {holds}, and without the images that another threshold "
        "would come from. Leave the length out, or export the run again: solo-bayesncl export RUN "
        f"--format safetensors --code-length {code_length:g} --out FILE",
    )  # fmt: skip
