"""Factors: the information of dimensions on known properties of the samples besides the class."""

from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from solo_bayesncl.errors import InputError
from solo_bayesncl.metrics.inputs import check_features, check_labels, check_range
from solo_bayesncl.metrics.statistics import ACTIVE, sum_by_class

# Entries sorted at once: values and their order take 200 MB in float32.
_CHUNK_ENTRIES = 2**24
# States are held in a byte.
_MAX_BINS = 255
# Columns of numbers with no more distinct values are taken as they are.
_MAX_CATEGORIES = 20


class Levels(NamedTuple):
    """A factor as integers.

    Attributes:
        levels: (M,) int64, 0 to num_levels - 1, each of which occurs.
        num_levels: K.
        kind: `categorical`, a level for each distinct value in sorted order, or `binned`.
    """

    levels: Tensor
    num_levels: int
    kind: str


def levels_of(column: Sequence[str | float | None], bins: int = 8) -> Levels:
    """Turns a column of a table into integer levels.

    Values that are not all finite numbers, or numbers of at most 20 distinct values, are
    categorical: a level for each distinct value in sorted order. Other numbers are binned by
    quantiles; equal numbers share a bin, so there can be fewer than `bins`.

    Args:
        column: M values, as text or as numbers; None, as `csv` gives for a missing cell, is the
            empty text.
        bins: most levels of a binned column, 1 to 255.

    Raises:
        InputError: for an empty column, or bins out of range.

    Example:
        >>> levels_of(["wood", "sky", "wood"])
        Levels(levels=tensor([1, 0, 1]), num_levels=2, kind='categorical')
        >>> levels_of([str(i) for i in range(80)]).num_levels
        8
    """
    check_range("bins", bins, 1, _MAX_BINS)
    if len(column) == 0:
        raise InputError("column: is empty; give one value for each sample.")
    numbers = _as_numbers(column)
    values = numbers or ["" if value is None else str(value) for value in column]
    distinct = sorted(set(values))
    if numbers is None or len(distinct) <= _MAX_CATEGORIES:
        place = {value: level for level, value in enumerate(distinct)}
        return Levels(torch.tensor([place[v] for v in values]), len(distinct), "categorical")
    rows = torch.tensor([numbers], dtype=torch.float64)
    in_bin = _states(rows, torch.ones_like(rows, dtype=torch.bool), bins)
    # Numbered anew, as ties can leave a bin empty.
    occurring, levels = in_bin[0].unique(return_inverse=True)
    return Levels(levels, len(occurring), "binned")


def mutual_information(features: Tensor, factor: Tensor, bins: int = 4) -> Tensor:
    """Mutual information of each dimension's activation with a factor.

    A dimension becomes a discrete state: inactive, |v| <= 1e-5, or a bin of its active values v by
    quantiles of their own. Equal values share a bin, so a dimension can have fewer than `bins`.
    From the shares p of samples by state s and level k:

        I = sum_sk p_sk ln(p_sk / (p_s p_k)) - (S - 1) (K - 1) / (2 M)

    The last term is the bias of the first one under independence, S and K being the numbers of
    states and levels that occur. The result is not clipped: values a little below 0 mean 0, and
    clipping them would bias averages over dimensions upwards again.

    Args:
        features: (M, D) float.
        factor: (M,) int levels, >= 0, for example of `levels_of`.
        bins: most bins of the active values, 1 to 255; 1 measures activity alone.

    Returns:
        (D,) float64, nats, up to min(ln K, ln(bins + 1)); 0 for a dimension of a single state.
        Takes 400 MB of memory in addition to the features, whatever their number.

    The bias is that of Miller, "Note on the bias of information estimates" (1955), in the form for
    mutual information.

    Example:
        >>> codes = torch.tensor([[1.0, 0.5], [1.0, 0.0], [0.0, 0.5], [0.0, 0.0]]).repeat(125, 1)
        >>> mutual_information(codes, torch.tensor([0, 0, 1, 1]).repeat(125))  # ln 2, nothing
        tensor([ 0.6921, -0.0010], dtype=torch.float64)
    """
    check_range("bins", bins, 1, _MAX_BINS)
    features = check_features(features)
    levels, factor = check_labels(factor, features, name="factor").unique(return_inverse=True)
    num_samples = len(features)
    chunk = max(1, _CHUNK_ENTRIES // num_samples)
    values = []
    for columns in features.split(chunk, dim=1):
        rows = columns.T.contiguous()
        states = _states(rows, rows.abs() > ACTIVE, bins).T.contiguous()
        joint = torch.stack(
            [
                sum_by_class(lambda part, s=state: part == s, states, factor, len(levels))
                for state in range(bins + 1)
            ]
        )
        values.append(_information(joint / num_samples, num_samples))
    return torch.cat(values)


def _information(joint: Tensor, num_samples: int) -> Tensor:
    """(D,) corrected mutual information of shares (states, levels, D)."""
    of_state, of_level = joint.sum(1, keepdim=True), joint.sum(0, keepdim=True)
    # 0 ln 0 = 0; where p_sk is not 0, neither are p_s and p_k.
    plug_in = torch.special.xlogy(joint, joint) - torch.special.xlogy(joint, of_state * of_level)
    num_states, num_levels = ((shares > 0).sum((0, 1)).double() for shares in (of_state, of_level))
    return plug_in.sum((0, 1)) - (num_states - 1) * (num_levels - 1) / (2 * num_samples)


def _states(rows: Tensor, in_use: Tensor, bins: int) -> Tensor:
    """(D, M) uint8 states of rows (D, M), each row by itself; `in_use` is (D, M) bool.

    0 where not in use, else 1 + floor(bins * r / n): of the n values of the row that are in use, r
    are smaller, half of the other equal ones counted among them.
    """
    num_in_use = in_use.sum(1, keepdim=True)
    ascending = rows.where(in_use, torch.inf).sort(dim=1).values
    states = in_use.to(torch.uint8)
    for step in range(1, bins):
        # The value at rank step * n / bins, or the next, is where bin `step` begins: with it and
        # its equals if r of them reaches that rank, behind them if not.
        place = (step * num_in_use + bins - 1) // bins
        edge = ascending.gather(1, place.clamp(max=rows.size(1) - 1))
        twice_r = (
            torch.searchsorted(ascending, edge)
            + torch.searchsorted(ascending, edge, right=True)
            - 1
        )
        reaches = bins * twice_r >= 2 * step * num_in_use
        below_edge = torch.nextafter(edge, edge.new_tensor(-torch.inf))
        states += in_use & (rows > below_edge.where(reaches, edge))
    return states


def _as_numbers(column: Sequence[str | float | None]) -> list[float] | None:
    """The column as finite numbers, or None."""
    try:
        numbers = [float(value) for value in column]
    except (TypeError, ValueError):
        return None
    return numbers if all(map(isfinite, numbers)) else None
