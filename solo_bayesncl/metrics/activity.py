"""How much of a code is in use: live and dead dimensions, length, sparsity, sign."""

import torch
from torch import Tensor

from solo_bayesncl.metrics.statistics import Statistics, statistics_of_features


def active_dims_of(statistics: Statistics) -> Tensor:
    return (statistics.active_counts.sum(0) > 0).sum().double()


def dead_dims_of(statistics: Statistics) -> Tensor:
    return statistics.active_counts.size(1) - active_dims_of(statistics)


def code_length_of(statistics: Statistics) -> Tensor:
    return statistics.active_counts.sum() / statistics.class_samples.sum()


def activation_sparsity_of(statistics: Statistics) -> Tensor:
    return 1 - code_length_of(statistics) / statistics.active_counts.size(1)


def non_negative_ratio_of(statistics: Statistics) -> Tensor:
    num_entries = statistics.class_samples.sum() * statistics.active_counts.size(1)
    return statistics.non_negative_count / num_entries


def hoyer_sparsity_of(statistics: Statistics) -> Tensor:
    num_dims = statistics.active_counts.size(1)
    if num_dims == 1:
        return statistics.norm_ratio_sum.new_tensor(torch.nan)
    densest = num_dims**0.5
    return (densest - statistics.norm_ratio_sum / statistics.nonzero_rows) / (densest - 1)


def active_dims(features: Tensor) -> Tensor:
    """Number of live dimensions, 0 to D.

    Official, but for the threshold: there, any value other than 0 is active here.

    Example:
        >>> active_dims(torch.tensor([[0.6, 0.8, 0.0], [1.0, 0.0, 0.0]]))
        tensor(2., dtype=torch.float64)
    """
    return active_dims_of(statistics_of_features(features))


def dead_dims(features: Tensor) -> Tensor:
    """Number of dead dimensions, D - `active_dims`.

    Example:
        >>> dead_dims(torch.tensor([[0.6, 0.8, 0.0], [1.0, 0.0, 0.0]]))
        tensor(1., dtype=torch.float64)
    """
    return dead_dims_of(statistics_of_features(features))


def code_length(features: Tensor) -> Tensor:
    """Mean number of active dimensions per sample (L0), 0 to D.

    Example:
        >>> code_length(torch.tensor([[0.6, 0.8, 0.0], [1.0, 0.0, 0.0]]))
        tensor(1.5000, dtype=torch.float64)
    """
    return code_length_of(statistics_of_features(features))


def activation_sparsity(features: Tensor) -> Tensor:
    """Share of entries that are not active, 1 - `code_length` / D.

    Official. The paper's tables print the complement, the share of active entries.

    Example:
        >>> activation_sparsity(torch.tensor([[0.6, 0.8, 0.0], [1.0, 0.0, 0.0]]))
        tensor(0.5000, dtype=torch.float64)
    """
    return activation_sparsity_of(statistics_of_features(features))


def hoyer_sparsity(features: Tensor) -> Tensor:
    """How unevenly a sample spreads over the dimensions, without a threshold.

    (sqrt(D) - |x|_1 / |x|_2) / (sqrt(D) - 1), mean over the samples that are not all zero: 0 if all
    |x_d| are equal, 1 for one dimension alone. NaN if D = 1 or all samples are zero.

    From Hoyer, "Non-negative matrix factorization with sparseness constraints" (2004).

    Example:
        >>> hoyer_sparsity(torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.5, 0.5]]))
        tensor(0.5000, dtype=torch.float64)
    """
    return hoyer_sparsity_of(statistics_of_features(features))


def non_negative_ratio(features: Tensor) -> Tensor:
    """Share of entries >= 0; 1 for codes of a non-negative head. Official.

    Example:
        >>> non_negative_ratio(torch.tensor([[0.6, -0.8], [1.0, 0.0]]))
        tensor(0.7500, dtype=torch.float64)
    """
    return non_negative_ratio_of(statistics_of_features(features))
