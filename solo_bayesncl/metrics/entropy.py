"""Semantic entropy: over how many classes a dimension spreads."""

from collections.abc import Callable

import torch
from torch import Tensor

from solo_bayesncl.errors import require_one_of
from solo_bayesncl.metrics.statistics import Statistics, statistics_by_class

# Official value: dimensions of no more total weight, and classes of no more share, are left out.
_NEGLIGIBLE = 1e-5


def _mean_activation(statistics: Statistics) -> Tensor:
    # A class without samples has sums of zero: it stays at zero instead of 0 / 0.
    return statistics.activation_sums / statistics.class_samples.clamp(min=1).unsqueeze(1)


# Weight of each class in each dimension, (C, D).
WEIGHTINGS: dict[str, Callable[[Statistics], Tensor]] = {
    "sum": lambda statistics: statistics.activation_sums,
    "mean": _mean_activation,
    "frequency": lambda statistics: statistics.active_counts,
}


def entropy_by_dim(statistics: Statistics, weighting: str) -> Tensor:
    """(D,) entropies, NaN where the weights are negligible."""
    weights = WEIGHTINGS[weighting](statistics)
    total = weights.sum(0)
    shares = weights / total
    # log 1 = 0: negligible classes add nothing.
    logs = shares.where(shares > _NEGLIGIBLE, shares.new_ones(())).log()
    # abs rather than minus, for which the entropy of a single class would be -0.0.
    entropies = (shares * logs).sum(0).abs()
    return entropies.where(total > _NEGLIGIBLE, torch.nan)


def semantic_entropy_of(statistics: Statistics, weighting: str) -> Tensor:
    return entropy_by_dim(statistics, weighting).nanmean()


def semantic_entropy(features: Tensor, labels: Tensor, weighting: str) -> Tensor:
    """Entropy of each dimension's distribution over classes; mean over live dimensions.

    -sum_c p_cd ln p_cd with p_cd = w_cd / sum_c w_cd, from 0 (one class) to ln C (evenly over all).
    Shares up to 1e-5 count as 0, and dimensions of no more total weight are left out. NaN if none
    is left, where 0 would read as the best possible value. Official, in all three weightings.

    Args:
        features: (M, D) float.
        labels: (M,) int, >= 0.
        weighting: w_cd of class c in dimension d: `sum` of |f_d| over the samples of the class,
            `mean` of |f_d| over them (large classes do not dominate), or `frequency`, n_cd.

    Example:
        >>> codes = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [1.0, 0.0]])
        >>> semantic_entropy(codes, torch.tensor([0, 0, 1, 1]), weighting="frequency")
        tensor(0.6648, dtype=torch.float64)
    """
    require_one_of(weighting, WEIGHTINGS, "weighting")
    return semantic_entropy_of(statistics_by_class(features, labels), weighting)
