"""Geometry of the dimensions: the rank they span and the angles between them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from solo_bayesncl.metrics.statistics import Statistics, statistics_of_features


@dataclass(frozen=True)
class Orthogonality:
    """Of |cosine| between live dimensions; float64 scalars, 0 if all are orthogonal.

    Attributes:
        mean: official mean.
        median: official median.
        mean_abs_cosine: mean over pairs of different dimensions, 0..1.
    """

    mean: Tensor
    median: Tensor
    mean_abs_cosine: Tensor


def effective_rank_of(statistics: Statistics) -> Tensor:
    squares = statistics.squared_singular_values
    # Below this, an eigenvalue is rounding error, and its square root would not be small.
    noise = squares[-1] * len(statistics.gram) * torch.finfo(squares.dtype).eps
    singular_values = squares.where(squares > noise, squares.new_zeros(())).sqrt()
    shares = singular_values / singular_values.sum()
    return -(shares * (shares + 1e-6).log()).sum()


def orthogonality_of(statistics: Statistics) -> Orthogonality:
    live = (statistics.active_counts.sum(0) > 0).nonzero().squeeze(1)
    num_pairs = len(live) * (len(live) - 1)
    if num_pairs == 0:
        undefined = statistics.gram.new_tensor(torch.nan)
        return Orthogonality(undefined, undefined, undefined)
    gram = statistics.gram[live.unsqueeze(1), live]
    norms = gram.diagonal().sqrt()
    cosines = gram.div_(norms).div_(norms.unsqueeze(1)).abs_().fill_diagonal_(0)
    total = cosines.sum()
    return Orthogonality(
        mean=total / cosines.numel() / num_pairs,
        median=cosines.median() / num_pairs,
        mean_abs_cosine=total / num_pairs,
    )


def effective_rank(features: Tensor) -> Tensor:
    """Entropy of the normalised singular values of the features, in nats.

    -sum_i p_i ln(p_i + 1e-6) with p_i = s_i / sum_j s_j, from 0 (one direction; -1e-6 to be exact)
    to ln D; NaN if all features are 0. Features are not centred. The s_i are square roots of the
    eigenvalues of features^T @ features in float64; rounding noise, s_i < 1.5e-8 sqrt(D) max_j s_j,
    counts as 0.

    Official, including the 1e-6. Its exponential is the effective number of dimensions of Roy and
    Vetterli (2007).

    Example:
        >>> effective_rank(torch.eye(4)).exp()
        tensor(4.0000, dtype=torch.float64)
    """
    return effective_rank_of(statistics_of_features(features))


def orthogonality(features: Tensor) -> Orthogonality:
    """How far live dimensions are from being orthogonal.

    With F the d live columns, normalised, A = |F^T F - I|. The official mean and median (there
    "disentanglement") are those of A / (d (d - 1)) over all d^2 entries, so they are divided by the
    number of pairs twice. The number to read is `mean_abs_cosine`, the sum of A over d (d - 1).

    Returns:
        `Orthogonality`, each value 0..1; NaN if fewer than two dimensions are live. The median is
        the lower one of an even number of values, as torch's.

    Example:
        >>> orthogonality(torch.tensor([[1.0, 1.0], [0.0, 1.0]])).mean_abs_cosine
        tensor(0.7071, dtype=torch.float64)
    """
    return orthogonality_of(statistics_of_features(features))
