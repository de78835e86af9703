"""All metrics that do not need all samples at once, by name."""

from functools import partial

from torch import Tensor

from solo_bayesncl.metrics import activity, adjusted, consistency, coverage, entropy, geometry
from solo_bayesncl.metrics.statistics import Statistics, of_labelled

# Of counts and sums by class.
CLASS_BASED = {
    "semantic_consistency": consistency.semantic_consistency_of,
    "adjusted_consistency": adjusted.adjusted_consistency_of,
    "paired_dims": adjusted.paired_dims_of,
    "weighted_consistency": consistency.weighted_consistency_of,
    "activation_weighted_consistency": consistency.activation_weighted_consistency_of,
    "support_thresholded_consistency": consistency.support_thresholded_consistency_of,
    "supported_dims": consistency.supported_dims_of,
    **{
        f"semantic_entropy_{weighting}": partial(entropy.semantic_entropy_of, weighting=weighting)
        for weighting in entropy.WEIGHTINGS
    },
    "class_coverage": coverage.class_coverage_of,
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


def summary(features: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """What `InterpretabilityMetrics.compute` returns, of one batch.

    Cheaper than the class where there are fewer samples than dimensions, as in a training batch.

    Args:
        features: (M, D) float codes, rows of unit length or zero.
        labels: (M,) int, >= 0.

    Returns:
        name -> scalar float64.

    Raises:
        InputError: as `semantic_consistency`.

    Example:
        >>> import torch
        >>> values = summary(torch.eye(2), torch.tensor([0, 1]))
        >>> values["semantic_consistency"], values["code_length"]
        (tensor(1., dtype=torch.float64), tensor(1., dtype=torch.float64))
    """
    return summary_of(of_labelled(features, labels))


def class_based_summary(features: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Those metrics of `summary` that depend on the labels, without a matrix to decompose.

    For labels of another kind, such as the levels of a factor. Arguments and errors as `summary`.

    Example:
        >>> import torch
        >>> class_based_summary(torch.eye(2), torch.tensor([0, 0]))["class_coverage"]
        tensor(0., dtype=torch.float64)
    """
    statistics = of_labelled(features, labels)
    return {name: formula(statistics) for name, formula in CLASS_BASED.items()}
