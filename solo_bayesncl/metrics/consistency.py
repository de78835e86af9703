"""Consistency: does a dimension, where it is active, mean one class?

The official `semantic_consistency` weights a dimension that is active on one sample as much as one
that is active on thousands, and a dimension of one sample is always consistent. Read it next to the
values here that account for the support, next to its value under shuffled labels, and next to
`adjusted_consistency`, for which chance is 0 whatever the support.
"""

import torch
from torch import Generator, Tensor

from solo_bayesncl.metrics.inputs import check_range
from solo_bayesncl.metrics.statistics import (
    BatchStatistics,
    Statistics,
    active_counts_by,
    statistics_by_class,
    statistics_of_features,
)

MIN_SHARE = 0.01


def consistency_by_dim(statistics: Statistics) -> Tensor:
    """(D,) shares of the most frequent class; 0 / 0 = NaN where the dimension is dead."""
    return statistics.active_counts.amax(0) / statistics.active_counts.sum(0)


def semantic_consistency_of(statistics: Statistics) -> Tensor:
    return support_thresholded_consistency_of(statistics, min_share=0.0)


def weighted_consistency_of(statistics: Statistics) -> Tensor:
    return _share_of_largest_class(statistics.active_counts)


def activation_weighted_consistency_of(statistics: Statistics) -> Tensor:
    return _share_of_largest_class(statistics.activation_sums)


def support_thresholded_consistency_of(
    statistics: Statistics, min_share: float = MIN_SHARE
) -> Tensor:
    return consistency_by_dim(statistics)[_is_supported(statistics, min_share)].mean()


def supported_dims_of(statistics: Statistics, min_share: float = MIN_SHARE) -> Tensor:
    return _is_supported(statistics, min_share).sum().double()


def adjusted_consistency_by_dim(statistics: Statistics) -> Tensor:
    """(D,) NaN where fewer than two samples are active, and everywhere if there is one class."""
    chance = _shared_pairs(statistics.class_samples)
    return (_shared_pairs(statistics.active_counts) - chance) / (1 - chance)


def adjusted_consistency_of(statistics: Statistics) -> Tensor:
    return adjusted_consistency_by_dim(statistics).nanmean()


def paired_dims_of(statistics: Statistics) -> Tensor:
    return (statistics.active_counts.sum(0) >= 2).sum().double()


def class_coverage_of(statistics: Statistics) -> Tensor:
    support = statistics.active_counts.sum(0)
    owns = (statistics.active_counts > support / 2) & (support >= 2)
    return owns.any(1).sum().double()


def _share_of_largest_class(weights: Tensor) -> Tensor:
    """Of weights (C, D), the share that lies in the largest class of its dimension."""
    return weights.amax(0).sum() / weights.sum()


def _is_supported(statistics: Statistics, min_share: float) -> Tensor:
    """(D,) bool."""
    support = statistics.active_counts.sum(0)
    return (support > 0) & (support / statistics.class_samples.sum() >= min_share)


def _shared_pairs(counts: Tensor) -> Tensor:
    """Of counts (C, ...), the share of pairs of samples within one class; NaN without a pair."""
    total = counts.sum(0)
    return (counts * (counts - 1)).sum(0) / (total * (total - 1))


def semantic_consistency(features: Tensor, labels: Tensor) -> Tensor:
    """Share of the most frequent class among the samples that activate a dimension.

    max_c n_cd / n_d, mean over live d; NaN if no dimension is live.

    Official, printed in percent in the paper's tables. The official code normalises rows first;
    codes are normalised already.

    Example:
        >>> codes = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [1.0, 0.0]])
        >>> semantic_consistency(codes, torch.tensor([0, 0, 1, 1]))
        tensor(0.5833, dtype=torch.float64)
    """
    return semantic_consistency_of(statistics_by_class(features, labels))


def weighted_consistency(features: Tensor, labels: Tensor) -> Tensor:
    """Semantic consistency with each dimension weighted by its support.

    sum_d max_c n_cd / sum_d n_d: the share of activations that agree with the most frequent class
    of their dimension. NaN if no dimension is live.

    Example:
        >>> codes = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [1.0, 0.0]])
        >>> weighted_consistency(codes, torch.tensor([0, 0, 1, 1]))
        tensor(0.6000, dtype=torch.float64)
    """
    return weighted_consistency_of(statistics_by_class(features, labels))


def activation_weighted_consistency(features: Tensor, labels: Tensor) -> Tensor:
    """Share of all activation that falls on the class with most of it in its dimension.

    sum_d max_c A_cd / sum_d sum_c A_cd, where A_cd is the sum of |f_d| over the samples of class c.
    It has no threshold, so weak activations count for little. NaN if all features are 0.

    Example:
        >>> codes = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [1.0, 0.0]])
        >>> activation_weighted_consistency(codes, torch.tensor([0, 0, 1, 1]))
        tensor(0.5909, dtype=torch.float64)
    """
    return activation_weighted_consistency_of(statistics_by_class(features, labels))


def support_thresholded_consistency(
    features: Tensor, labels: Tensor, min_share: float = MIN_SHARE
) -> Tensor:
    """Semantic consistency over the dimensions active on at least a share of the samples.

    Args:
        features: (M, D) float.
        labels: (M,) int, >= 0.
        min_share: least share of the samples, in 0..1; 0 gives `semantic_consistency`.

    Example:
        >>> codes = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> labels = torch.tensor([0, 0, 1, 1])
        >>> support_thresholded_consistency(codes, labels, min_share=0.5)
        tensor(0.6667, dtype=torch.float64)
    """
    check_range("min_share", min_share, 0, 1)
    return support_thresholded_consistency_of(statistics_by_class(features, labels), min_share)


def supported_dims(features: Tensor, min_share: float = MIN_SHARE) -> Tensor:
    """Number of dimensions that `support_thresholded_consistency` averages over.

    Example:
        >>> codes = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> supported_dims(codes, min_share=0.5)
        tensor(1., dtype=torch.float64)
    """
    check_range("min_share", min_share, 0, 1)
    return supported_dims_of(statistics_of_features(features), min_share)


def adjusted_consistency(features: Tensor, labels: Tensor) -> Tensor:
    """Share of pairs of active samples that share a class, scaled to 0 at chance and 1 at best.

    With N_c samples of class c and N in all,

        q_d = sum_c n_cd (n_cd - 1) / (n_d (n_d - 1))
        q_0 = sum_c N_c (N_c - 1) / (N (N - 1))
        a_d = (q_d - q_0) / (1 - q_0), mean over d with n_d >= 2

    Unlike the share of the most frequent class, q_d is unbiased, and q_0 is its expectation under
    permuted labels, whatever n_d (derived in docs/metrics.md). The lowest value is
    -q_0 / (1 - q_0). NaN if no dimension is active on two samples, or there is a single class.

    q_d is the estimator of Simpson, "Measurement of diversity" (1949).

    Example:
        >>> codes = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> adjusted_consistency(codes, torch.tensor([0, 0, 1, 1]))  # q 1/3, chance 1/3
        tensor(0., dtype=torch.float64)
    """
    return adjusted_consistency_of(statistics_by_class(features, labels))


def paired_dims(features: Tensor) -> Tensor:
    """Number of dimensions that `adjusted_consistency` averages over: active on 2 or more samples.

    Example:
        >>> paired_dims(torch.tensor([[1.0, 0.0], [0.6, 0.8]]))
        tensor(1., dtype=torch.float64)
    """
    return paired_dims_of(statistics_of_features(features))


def class_coverage(features: Tensor, labels: Tensor) -> Tensor:
    """Number of classes that own a dimension, 0 to min(C, D).

    A class owns a dimension if n_d >= 2 and n_cd > n_d / 2, so a dimension has at most one owner. A
    high consistency can come from a few classes alone.

    Example:
        >>> codes = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> class_coverage(codes, torch.tensor([0, 0, 1, 1]))
        tensor(1., dtype=torch.float64)
    """
    return class_coverage_of(statistics_by_class(features, labels))


def shuffled_label_null(
    features: Tensor, labels: Tensor, generator: Generator | None = None, permutations: int = 10
) -> Tensor:
    """Semantic consistency with the labels permuted: what these codes score without any meaning.

    It rises as dimensions are active on fewer samples. A consistency near it shows no meaning.

    Args:
        features: (M, D) float.
        labels: (M,) int, >= 0.
        generator: source of the permutations, torch's global one by default.
        permutations: number of permutations to average over, 1 or more.

    Example:
        >>> codes, labels = torch.eye(4), torch.tensor([0, 0, 1, 1])
        >>> shuffled_label_null(codes, labels)  # a dimension of one sample is always consistent
        tensor(1., dtype=torch.float64)
    """
    check_range("permutations", permutations, 1)
    return shuffled_label_null_of(statistics_by_class(features, labels), generator, permutations)


def shuffled_label_null_of(
    statistics: BatchStatistics, generator: Generator | None = None, permutations: int = 10
) -> Tensor:
    """`shuffled_label_null` of samples whose statistics are known. Arguments as there."""
    labels = statistics.labels
    device = "cpu" if generator is None else generator.device
    orders = [
        torch.randperm(len(labels), generator=generator, device=device) for _ in range(permutations)
    ]
    shuffled = [labels[order.to(labels.device)] for order in orders]
    counts = active_counts_by(shuffled, statistics.features, statistics.num_classes)
    # of all permutations, dimensions are active on the same samples
    support = statistics.active_counts.sum(0)
    shares = (counts.amax(1) / support)[:, support > 0]
    return shares.mean(dim=1).mean()
