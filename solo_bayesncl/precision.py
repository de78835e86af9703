"""The precision in which a trained model runs: that of its training, or a requested one."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from solo_bayesncl.errors import ArgumentError

if TYPE_CHECKING:
    import torch

AS_TRAINED = "auto"
# Lightning's names -> torch's dtype of autocast; weights are float32 in each of them
PRECISIONS = {"32-true": None, "16-mixed": "float16", "bf16-mixed": "bfloat16"}
_OTHER_NAMES = {16: "16-mixed", "16": "16-mixed", "bf16": "bf16-mixed"}


def lightning_2_name(precision: str | int | None) -> str | int | None:
    """The name in Lightning 2 of a mixed precision in any of Lightning's forms; others as is."""
    return _OTHER_NAMES.get(precision, precision)


def check_precision(precision: str) -> None:
    """Raises `ArgumentError` for what is neither `auto` nor a precision."""
    accepted = (AS_TRAINED, *PRECISIONS)
    if precision not in accepted:
        problem = f" is not known. Choose one of: {', '.join(accepted)}."
        raise ArgumentError("precision", precision, problem)


def resolve_precision(requested: str, trained: str | int | None, device: torch.device) -> str:
    """The precision to compute in.

    Args:
        requested: `auto` or one of `PRECISIONS`. `auto` is as trained on a GPU, and "32-true" on
            the CPU, where halves are slower or less exact than what the GPU computed.
        trained: `precision` of the run's record, in any of Lightning's forms.
        device: where to compute.

    Returns:
        One of `PRECISIONS`; "32-true" for float64, as the weights are float32 here.
    """
    if requested != AS_TRAINED:
        return requested
    trained = lightning_2_name(trained)
    return trained if device.type != "cpu" and trained in PRECISIONS else "32-true"


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """A context that runs a model in one of `PRECISIONS`; for "32-true" it changes nothing."""
    import torch  # takes seconds, which `--help` and wrong options do not wait for

    dtype = PRECISIONS[precision]
    return nullcontext() if dtype is None else torch.autocast(device.type, getattr(torch, dtype))
