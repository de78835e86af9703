"""Semantic consistency: does a dimension, where it is active, mean one class?

The official value weighs a dimension that fires on one sample as much as one that fires on
thousands, and a dimension of one sample is always consistent. Read it next to the values here that
account for the support, next to its value under shuffled labels, and next to
`adjusted_consistency`, for which chance is 0 whatever the support.
"""

import torch
from torch import Generator, Tensor

from solo_bayesncl.errors import InputError
from solo_bayesncl.metrics.inputs import check_features, check_labels
from solo_bayesncl.metrics.statistics import (
    BatchStatistics,
    Statistics,
    of_features,
    of_labelled,
)

MIN_SHARE = 0.01


def consistency_by_dim(statistics: Statistics) -> Tensor:
    """(D,) shares of the most frequent class; 0 / 0 = NaN where the dimension is dead."""
    counts = statistics.active_counts
    return counts.amax(0) / counts.sum(0)


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


def _share_of_largest_class(weights: Tensor) -> Tensor:
    """Of weights (C, D), the share that lies in the largest class of its dimension."""
    return weights.amax(0).sum() / weights.sum()


def _is_supported(statistics: Statistics, min_share: float) -> Tensor:
    """(D,) bool."""
    support = statistics.active_counts.sum(0)
    return (support > 0) & (support / statistics.class_samples.sum() >= min_share)


def semantic_consistency(features: Tensor, labels: Tensor) -> Tensor:
    """Share of the most frequent label among the samples a dimension is active on; mean over them.

    SC = mean over live d of max_c n_cd / sum_c n_cd, where n_cd is the number of samples of class c
    with |f_d| > 1e-5, and a dimension is live if any sample activates it.

    Args:
        features: (M, D) float codes, rows of unit length or zero.
        labels: (M,) int, >= 0.

    Returns:
        Scalar float64, a share in 0..1; NaN if no dimension is live.

    Raises:
        InputError: for features that are empty, not a matrix or not finite, or labels that are not
            integers >= 0, one for each row.

    Source:
        Official evaluation, printed in percent in the paper's tables. It normalises rows first;
        codes are normalised already.

    Example:
        >>> import torch
        >>> codes = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [1.0, 0.0]])
        >>> semantic_consistency(codes, torch.tensor([0, 0, 1, 1]))
        tensor(0.5833, dtype=torch.float64)
    """
    return semantic_consistency_of(of_labelled(features, labels))


def weighted_consistency(features: Tensor, labels: Tensor) -> Tensor:
    """Semantic consistency with each dimension weighted by the samples it is active on.

    sum_d max_c n_cd / sum_d sum_c n_cd: the share of activations that agree with the most frequent
    label of their dimension.

    Args:
        features: (M, D) float codes, rows of unit length or zero.
        labels: (M,) int, >= 0.

    Returns:
        Scalar float64, a share in 0..1; NaN if no dimension is live.

    Raises:
        InputError: as `semantic_consistency`.

    Source:
        Beside the official metrics; dimensions that fire on a few samples do not move it.

    Example:
        >>> import torch
        >>> codes = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [1.0, 0.0]])
        >>> weighted_consistency(codes, torch.tensor([0, 0, 1, 1]))
        tensor(0.6000, dtype=torch.float64)
    """
    return weighted_consistency_of(of_labelled(features, labels))


def activation_weighted_consistency(features: Tensor, labels: Tensor) -> Tensor:
    """Share of all activation that falls on the class with most of it in its dimension.

    sum_d max_c A_cd / sum_d sum_c A_cd, where A_cd is the sum of |f_d| over the samples of class c.

    Args:
        features: (M, D) float codes, rows of unit length or zero.
        labels: (M,) int, >= 0.

    Returns:
        Scalar float64, a share in 0..1; NaN if all features are 0.

    Raises:
        InputError: as `semantic_consistency`.

    Source:
        Beside the official metrics; `weighted_consistency` without the threshold of activity, so
        weak activations count for little.

    Example:
        >>> import torch
        >>> codes = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [1.0, 0.0]])
        >>> activation_weighted_consistency(codes, torch.tensor([0, 0, 1, 1]))
        tensor(0.5909, dtype=torch.float64)
    """
    return activation_weighted_consistency_of(of_labelled(features, labels))


def support_thresholded_consistency(
    features: Tensor, labels: Tensor, min_share: float = MIN_SHARE
) -> Tensor:
    """Semantic consistency over the dimensions active on at least a share of the samples.

    Args:
        features: (M, D) float codes, rows of unit length or zero.
        labels: (M,) int, >= 0.
        min_share: least share of the samples, in 0..1; 0 is `semantic_consistency`.

    Returns:
        Scalar float64, a share in 0..1; NaN if no dimension has that support.

    Raises:
        InputError: as `semantic_consistency`, and for min_share outside 0..1.

    Source:
        Beside the official metrics.

    Example:
        >>> import torch
        >>> codes = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> labels = torch.tensor([0, 0, 1, 1])
        >>> support_thresholded_consistency(codes, labels, min_share=0.5)
        tensor(0.6667, dtype=torch.float64)
    """
    _check_share(min_share)
    return support_thresholded_consistency_of(of_labelled(features, labels), min_share)


def supported_dims(features: Tensor, min_share: float = MIN_SHARE) -> Tensor:
    """Number of dimensions that `support_thresholded_consistency` averages over.

    Args:
        features: (M, D) float codes, rows of unit length or zero.
        min_share: least share of the samples, in 0..1; 0 is `active_dims`.

    Returns:
        Scalar float64, 0 to D.

    Raises:
        InputError: for features that are empty, not a matrix or not finite, or min_share outside
            0..1.

    Source:
        Beside the official metrics.

    Example:
        >>> import torch
        >>> codes = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> supported_dims(codes, min_share=0.5)
        tensor(1., dtype=torch.float64)
    """
    _check_share(min_share)
    return supported_dims_of(of_features(features), min_share)


def shuffled_label_null(
    features: Tensor,
    labels: Tensor,
    generator: Generator | None = None,
    permutations: int = 10,
) -> Tensor:
    """Semantic consistency with the labels permuted: what these codes score without any meaning.

    It rises as dimensions fire on fewer samples. A consistency near it says nothing.

    Args:
        features: (M, D) float codes, rows of unit length or zero.
        labels: (M,) int, >= 0.
        generator: source of the permutations, torch's global one by default.
        permutations: how many of them to average over, 1 or more.

    Returns:
        Scalar float64, a share in 0..1; NaN if no dimension is live.

    Raises:
        InputError: as `semantic_consistency`, and for permutations below 1.

    Source:
        Beside the official metrics; a permutation null.

    Example:
        >>> import torch
        >>> codes, labels = torch.eye(4), torch.tensor([0, 0, 1, 1])
        >>> shuffled_label_null(codes, labels)  # one sample a dimension is always consistent
        tensor(1., dtype=torch.float64)
    """
    if permutations < 1:
        raise InputError(f"permutations={permutations}: give a number of 1 or more.")
    features = check_features(features)
    classes, labels = check_labels(labels, features).unique(return_inverse=True)
    device = "cpu" if generator is None else generator.device
    values = []
    for _ in range(permutations):
        order = torch.randperm(len(labels), generator=generator, device=device)
        shuffled = labels[order.to(labels.device)]
        values.append(semantic_consistency_of(BatchStatistics(features, shuffled, len(classes))))
    return torch.stack(values).mean()


def _check_share(min_share: float) -> None:
    if not 0 <= min_share <= 1:
        raise InputError(f"min_share={min_share}: give a share of the samples, from 0 to 1.")
