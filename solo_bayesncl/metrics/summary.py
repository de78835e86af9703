"""All metrics that do not need all samples at once, by name: averaged, or for every dimension."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from solo_bayesncl.metrics import activity, consistency, entropy, geometry
from solo_bayesncl.metrics.inputs import check_features, check_labels, check_range
from solo_bayesncl.metrics.statistics import (
    ACTIVE,
    BatchStatistics,
    Statistics,
    statistics_by_class,
)

# Of counts and sums by class.
CLASS_BASED = {
    "semantic_consistency": consistency.semantic_consistency_of,
    "adjusted_consistency": consistency.adjusted_consistency_of,
    "paired_dims": consistency.paired_dims_of,
    "weighted_consistency": consistency.weighted_consistency_of,
    "activation_weighted_consistency": consistency.activation_weighted_consistency_of,
    "support_thresholded_consistency": consistency.support_thresholded_consistency_of,
    "supported_dims": consistency.supported_dims_of,
    **{
        f"semantic_entropy_{weighting}": partial(entropy.semantic_entropy_of, weighting=weighting)
        for weighting in entropy.WEIGHTINGS
    },
    "class_coverage": consistency.class_coverage_of,
}
_FORMULAS = {
    **CLASS_BASED,
    "active_dims": activity.active_dims_of,
    "dead_dims": activity.dead_dims_of,
    "code_length": activity.code_length_of,
    "activation_sparsity": activity.activation_sparsity_of,
    "hoyer_sparsity": activity.hoyer_sparsity_of,
    "non_negative_ratio": activity.non_negative_ratio_of,
    "effective_rank": geometry.effective_rank_of,
}


def summary_of(statistics: Statistics) -> dict[str, Tensor]:
    values = {name: formula(statistics) for name, formula in _FORMULAS.items()}
    for name, value in vars(geometry.orthogonality_of(statistics)).items():
        values[f"orthogonality_{name}"] = value
    return values


def class_based_summary_of(statistics: Statistics) -> dict[str, Tensor]:
    return {name: formula(statistics) for name, formula in CLASS_BASED.items()}


def summary(features: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """All metrics of one split, name -> scalar, as `InterpretabilityMetrics` computes them.

    The names are those of the functions, but `semantic_entropy_` with `sum`, `mean` and
    `frequency`, and `orthogonality_` with `mean`, `median` and `mean_abs_cosine`. Cheaper than the
    class where there are fewer samples than dimensions, as in a training batch.

    Example:
        >>> values = summary(torch.eye(2), torch.tensor([0, 1]))
        >>> values["semantic_consistency"], values["code_length"]
        (tensor(1., dtype=torch.float64), tensor(1., dtype=torch.float64))
    """
    return summary_of(statistics_by_class(features, labels))


def class_based_summary(features: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The metrics of `summary` that depend on the labels; they need no matrix decomposition.

    For labels of another kind, such as the levels of a factor.

    Example:
        >>> class_based_summary(torch.eye(2), torch.tensor([0, 0]))["class_coverage"]
        tensor(0., dtype=torch.float64)
    """
    return class_based_summary_of(statistics_by_class(features, labels))


def per_dimension(features: Tensor, labels: Tensor, num_classes: int) -> dict[str, Tensor]:
    """What each dimension is active on, and how well it agrees with the classes.

    `semantic_consistency`, `adjusted_consistency` and `semantic_entropy` of weighting `sum` are the
    means of the columns `consistency`, `adjusted_consistency` and `entropy` over their defined
    values.

    Args:
        features: (M, D) float.
        labels: (M,) int, 0 to num_classes - 1.
        num_classes: C, 1 or more.

    Returns:
        Name -> column (D,), float64 unless noted, NaN where undefined:
        `support` int64, number of samples on which the dimension is active;
        `density`, share of the samples on which it is;
        `mean_activation`, mean |activation| over those samples;
        `consistency`, `adjusted_consistency`, undefined below 1 and 2 samples of support;
        `entropy`, nats;
        `owner` int64, the most frequent class among those samples, the lowest of several, -1 for a
        dead dimension;
        `class_counts` (D, C) int64, number of those samples by class.

    Example:
        >>> codes = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [1.0, 0.0]])
        >>> table = per_dimension(codes, torch.tensor([0, 0, 1, 1]), num_classes=2)
        >>> table["consistency"], table["owner"]
        (tensor([0.6667, 0.5000], dtype=torch.float64), tensor([0, 0]))
    """
    check_range("num_classes", num_classes, 1)
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
        "consistency": consistency.consistency_by_dim(statistics),
        "adjusted_consistency": consistency.adjusted_consistency_by_dim(statistics),
        "entropy": entropy.entropy_by_dim(statistics, "sum"),
        "owner": statistics.active_counts.argmax(0).where(support > 0, -1),
        "class_counts": statistics.active_counts.T.long(),
    }
