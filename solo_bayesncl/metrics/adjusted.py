"""Consistency adjusted for chance: of two samples a dimension is active on, do they share a class?

The share of the most frequent class of `semantic_consistency` is biased: n samples of any classes
have a most frequent one, with a share of at least 1 / n. Pairs of samples have no such bias, and
what shuffled labels would give is known in closed form. docs/metrics.md derives both.
"""

from torch import Tensor

from solo_bayesncl.metrics.statistics import Statistics, of_features, of_labelled


def _shared_pairs(counts: Tensor) -> Tensor:
    """Of counts (C, ...), the share of pairs of samples within one class; NaN without a pair."""
    total = counts.sum(0)
    return (counts * (counts - 1)).sum(0) / (total * (total - 1))


def adjusted_consistency_by_dim(statistics: Statistics) -> Tensor:
    """(D,) NaN where fewer than two samples are active, and everywhere if there is one class."""
    chance = _shared_pairs(statistics.class_samples)
    return (_shared_pairs(statistics.active_counts) - chance) / (1 - chance)


def adjusted_consistency_of(statistics: Statistics) -> Tensor:
    return adjusted_consistency_by_dim(statistics).nanmean()


def paired_dims_of(statistics: Statistics) -> Tensor:
    return (statistics.active_counts.sum(0) >= 2).sum().double()


def adjusted_consistency(features: Tensor, labels: Tensor) -> Tensor:
    """Share of pairs of active samples that share a class, scaled to 0 at chance and 1 at best.

    With n_cd samples of class c active on dimension d, n_d in all, N_c samples of class c, N in
    all:

        q_d = sum_c n_cd (n_cd - 1) / (n_d (n_d - 1))
        q_0 = sum_c N_c (N_c - 1) / (N (N - 1))
        a_d = (q_d - q_0) / (1 - q_0), mean over d with n_d >= 2

    q_d estimates sum_c p_c^2 of the classes p that activate d without bias, whatever n_d. If labels
    are permuted, every pair of samples is within a class with probability q_0, so the expectation
    of q_d is q_0 and that of a_d is 0, whatever n_d.

    Args:
        features: (M, D) float codes, rows of unit length or zero.
        labels: (M,) int, >= 0.

    Returns:
        Scalar float64: 1 if each dimension belongs to one class, 0 at chance, below 0 for less
        agreement than chance, at least -q_0 / (1 - q_0). NaN if no dimension is active on two
        samples, or all samples are of one class.

    Raises:
        InputError: as `semantic_consistency`.

    Source:
        Beside the official metrics. q_d is the estimator of Simpson, "Measurement of diversity"
        (1949); the scaling is the one of chance-corrected agreement.

    Example:
        >>> import torch
        >>> codes = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> adjusted_consistency(codes, torch.tensor([0, 0, 1, 1]))  # q 1/3, chance 1/3
        tensor(0., dtype=torch.float64)
    """
    return adjusted_consistency_of(of_labelled(features, labels))


def paired_dims(features: Tensor) -> Tensor:
    """Number of dimensions that `adjusted_consistency` averages over: active on 2 or more samples.

    Args:
        features: (M, D) float codes, rows of unit length or zero.

    Returns:
        Scalar float64, 0 to D.

    Raises:
        InputError: for features that are empty, not a matrix or not finite.

    Source:
        Beside the official metrics.

    Example:
        >>> import torch
        >>> paired_dims(torch.tensor([[1.0, 0.0], [0.6, 0.8]]))
        tensor(1., dtype=torch.float64)
    """
    return paired_dims_of(of_features(features))
