"""Checks of the metrics' arguments."""

import torch
from torch import Tensor

from solo_bayesncl.errors import InputError


def check_features(features: Tensor, name: str = "features") -> Tensor:
    """(M, D) without its gradient history, half precision as float32; `name` is for messages.

    Raises:
        InputError: unless `features` is a float matrix with at least one entry, all of them finite.
    """
    if not isinstance(features, Tensor) or not features.is_floating_point():
        raise InputError(f"{name}: give a float tensor (samples, dimensions), {_not(features)}.")
    if features.ndim != 2 or features.numel() == 0:
        raise InputError(
            f"{name}: give shape (samples, dimensions), at least one of each, "
            f"not {tuple(features.shape)}."
        )
    features = features.detach()
    # A finite sum proves every entry finite at a fraction of the cost of looking at each.
    if not features.sum().isfinite() and not features.isfinite().all():
        raise InputError(f"{name}: contain NaN or inf; metrics need finite values.")
    return features if features.dtype == torch.float64 else features.float()


def check_labels(
    labels: Tensor, features: Tensor, num_classes: int | None = None, name: str = "labels"
) -> Tensor:
    """(M,) int64 on the device of `features`; `name` is for messages.

    Raises:
        InputError: unless `labels` has one integer for each row of `features`, from 0 and, if
            `num_classes` is given, below it.
    """
    if not isinstance(labels, Tensor) or not _is_integer(labels):
        raise InputError(f"{name}: give an integer tensor (samples,), {_not(labels)}.")
    if labels.shape != features.shape[:1]:
        raise InputError(
            f"{name}: give shape ({features.shape[0]},), one for each sample, "
            f"not {tuple(labels.shape)}."
        )
    labels = labels.to(features.device, torch.int64)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or (num_classes is not None and high >= num_classes):
        accepted = (
            "0 or above" if num_classes is None else f"0 to num_classes - 1 ({num_classes - 1})"
        )
        raise InputError(f"{name}: got values from {low} to {high}, accepted is {accepted}.")
    return labels


def check_range(name: str, value: float, low: float, high: float | None = None) -> None:
    """Raises `InputError` unless `value` is from `low` to `high`."""
    if value < low or (high is not None and value > high):
        accepted = f"of {low} or more" if high is None else f"from {low} to {high}"
        raise InputError(f"{name}={value}: give a number {accepted}.")


def _is_integer(x: Tensor) -> bool:
    return not (x.is_floating_point() or x.is_complex() or x.dtype == torch.bool)


def _not(given: object) -> str:
    return f"not {given.dtype if isinstance(given, Tensor) else type(given).__name__}"
