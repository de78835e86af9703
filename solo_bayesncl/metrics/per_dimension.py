"""The metrics of every dimension by itself, before they are averaged."""

import torch
import torch.nn.functional as F
from torch import Tensor

from solo_bayesncl.errors import InputError
from solo_bayesncl.metrics.adjusted import adjusted_consistency_by_dim
from solo_bayesncl.metrics.consistency import consistency_by_dim
from solo_bayesncl.metrics.entropy import entropy_by_dim
from solo_bayesncl.metrics.inputs import check_features, check_labels
from solo_bayesncl.metrics.statistics import ACTIVE, BatchStatistics


def per_dimension(features: Tensor, labels: Tensor, num_classes: int) -> dict[str, Tensor]:
    """What each dimension is active on, and how well it agrees with the classes.

    `semantic_consistency`, `adjusted_consistency` and `semantic_entropy` of weighting `sum` are the
    means of the columns `consistency`, `adjusted_consistency` and `entropy` over their defined
    values.

    Args:
        features: (M, D) float codes, rows of unit length or zero.
        labels: (M,) int, 0 to num_classes - 1.
        num_classes: C.

    Returns:
        name -> column of one entry a dimension; float64 unless said otherwise, NaN where undefined:
        `support` (D,) int64, number of samples on which the dimension is active;
        `density` (D,) share of the samples on which it is;
        `mean_activation` (D,) mean |activation| over those samples;
        `consistency`, `adjusted_consistency` (D,) as the functions, undefined below 1 and 2
        samples of support; `entropy` (D,) nats;
        `owner` (D,) int64, the most frequent class among those samples, the lowest of several, -1
        for a dead dimension;
        `class_counts` (D, C) int64, number of those samples by class.

    Raises:
        InputError: for features that are empty, not a matrix or not finite, num_classes below 1, or
            labels that are not one integer from 0 to num_classes - 1 for each row.

    Source:
        The official evaluation averages these; the columns are beside it.

    Example:
        >>> import torch
        >>> codes = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [1.0, 0.0]])
        >>> table = per_dimension(codes, torch.tensor([0, 0, 1, 1]), num_classes=2)
        >>> table["consistency"], table["owner"]
        (tensor([0.6667, 0.5000], dtype=torch.float64), tensor([0, 0]))
    """
    if num_classes < 1:
        raise InputError(f"num_classes={num_classes}: give the number of classes, 1 or more.")
    features = check_features(features)
    labels = check_labels(labels, features, num_classes)
    statistics = BatchStatistics(features, labels, num_classes)
    support = statistics.active_counts.sum(0)
    # activation_sums include the values too small to be active.
    active_sums = F.threshold_(features.abs(), ACTIVE, 0).sum(0, dtype=torch.float64)
    return {
        "support": support.long(),
        "density": support / len(labels),
        "mean_activation": active_sums / support,
        "consistency": consistency_by_dim(statistics),
        "adjusted_consistency": adjusted_consistency_by_dim(statistics),
        "entropy": entropy_by_dim(statistics, "sum"),
        "owner": statistics.active_counts.argmax(0).where(support > 0, -1),
        "class_counts": statistics.active_counts.T.long(),
    }
