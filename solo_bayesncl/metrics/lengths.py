"""Codes cut to a given length, so that methods can be compared at the same one.

Shorter codes score higher on every consistency by themselves: what a dimension drops first is what
it is least sure of. Only at equal length does a difference belong to the method.
"""

from collections.abc import Sequence
from math import inf

import torch
from torch import Tensor

from solo_bayesncl.errors import InputError
from solo_bayesncl.metrics.inputs import check_features
from solo_bayesncl.metrics.statistics import ACTIVE


def cut(codes: Tensor, length: float, reference: Tensor | None = None) -> Tensor:
    """Codes shortened to `length` active entries per sample on average, without labels.

    Entries with |value| above one threshold, the same for all samples and dimensions, are kept;
    the others become 0 and rows are scaled to unit length again. Samples differ in how many entries
    they keep; one that keeps none is all zero. See `cut_threshold`.

    Args:
        codes: (M, D) float.
        length: active entries per sample, above 0.
        reference: (R, D) codes that the threshold is chosen on, in an evaluation those of the
            training split; by default `codes`.

    Returns:
        (M, D), of the dtype of `codes`; gradients flow through the entries that are kept.

    Example:
        >>> cut(torch.tensor([[0.6, 0.8, 0.0], [0.96, 0.0, 0.28]]), length=1)
        tensor([[0., 1., 0.],
                [1., 0., 0.]])
    """
    check_features(codes, "codes")
    return apply_cut(codes, cut_threshold(codes if reference is None else reference, length))


def cut_threshold(reference: Tensor, length: float) -> float:
    """The threshold above which `reference` has `length` active entries per sample on average.

    With R samples and k = floor(length * R), it is the (k + 1)-th largest |value|. Entries equal to
    it are not kept: with ties, codes are shorter than `length`, never longer. 0 if no more than k
    entries are active: the codes are short enough as they are.

    Args:
        reference: (R, D) float.
        length: active entries per sample, above 0.

    Example:
        >>> round(cut_threshold(torch.tensor([[0.6, 0.8, 0.0], [0.96, 0.0, 0.28]]), length=1), 4)
        0.6
    """
    return cut_thresholds(reference, [length])[0]


def cut_thresholds(reference: Tensor, lengths: Sequence[float]) -> list[float]:
    """`cut_threshold` for several lengths, for the price of one."""
    magnitudes = check_features(reference, "reference").abs().flatten()
    for length in lengths:
        if not 0 < length < inf:
            raise InputError(f"length={length}: give a finite number above 0.")
    ranks = [int(length * len(reference)) for length in lengths]
    largest = magnitudes.topk(min(max(ranks) + 1, len(magnitudes))).values
    return [_threshold(largest, rank) for rank in ranks]


def _threshold(largest: Tensor, rank: int) -> float:
    """The value of a rank, from 0, in descending values; 0 if it isn't active or there is none."""
    value = float(largest[rank]) if rank < len(largest) else 0.0
    return value if value > ACTIVE else 0.0


def apply_cut(codes: Tensor, threshold: float) -> Tensor:
    """The entries of |value| > `threshold` alone, rows scaled to unit length again.

    Args:
        codes: (..., D) float.
        threshold: as `cut_threshold` returns it.

    Returns:
        The shape and dtype of `codes`; gradients flow through the entries that are kept.

    Example:
        >>> apply_cut(torch.tensor([[0.6, 0.8, 0.0]]), threshold=0.7)
        tensor([[0., 1., 0.]])
    """
    kept = codes * (codes.abs() > threshold)
    # in float16, the bound that keeps an empty row from being divided by 0 would be 0 itself
    exact = kept.to(torch.promote_types(kept.dtype, torch.float32))
    return torch.nn.functional.normalize(exact, dim=-1).to(codes.dtype)
