"""Semantic consistency: does a dimension, where it is active, mean one class?

The official value weighs a dimension that fires on one sample as much as one that fires on
thousands, and a dimension of one sample is always consistent. Read it next to the values here that
account for the support, and next to its value under shuffled labels.
"""

import torch
from torch import Generator, Tensor

from solo_bayesncl.errors import InputError
from solo_bayesncl.metrics.inputs import check_features, check_labels
from solo_bayesncl.metrics.statistics import Statistics, of_labelled

MIN_SHARE = 0.01


def semantic_consistency_of(statistics: Statistics) -> Tensor:
    return support_thresholded_consistency_of(statistics, min_share=0.0)


def weighted_consistency_of(statistics: Statistics) -> Tensor:
    counts = statistics.active_counts
    return counts.amax(0).sum() / counts.sum()


def support_thresholded_consistency_of(
    statistics: Statistics, min_share: float = MIN_SHARE
) -> Tensor:
    counts = statistics.active_counts
    support = counts.sum(0)
    share = support / statistics.class_samples.sum()
    kept = (support > 0) & (share >= min_share)
    return (counts.amax(0) / support)[kept].mean()


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
    if not 0 <= min_share <= 1:
        raise InputError(f"min_share={min_share}: give a share of the samples, from 0 to 1.")
    return support_thresholded_consistency_of(of_labelled(features, labels), min_share)


def shuffled_label_null(
    features: Tensor, labels: Tensor, generator: Generator | None = None
) -> Tensor:
    """Semantic consistency with the labels permuted: what these codes score without any meaning.

    It rises as dimensions fire on fewer samples. A consistency near it says nothing.

    Args:
        features: (M, D) float codes, rows of unit length or zero.
        labels: (M,) int, >= 0.
        generator: source of the one permutation drawn, torch's global one by default.

    Returns:
        Scalar float64, a share in 0..1; NaN if no dimension is live.

    Raises:
        InputError: as `semantic_consistency`.

    Source:
        Beside the official metrics; a permutation null.

    Example:
        >>> import torch
        >>> codes, labels = torch.eye(4), torch.tensor([0, 0, 1, 1])
        >>> shuffled_label_null(codes, labels)  # one sample a dimension is always consistent
        tensor(1., dtype=torch.float64)
    """
    features = check_features(features)
    labels = check_labels(labels, features)
    device = "cpu" if generator is None else generator.device
    order = torch.randperm(len(labels), generator=generator, device=device)
    return semantic_consistency(features, labels[order.to(labels.device)])
