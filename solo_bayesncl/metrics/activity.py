"""How much of a code is in use: live dimensions, sparsity, length, sign.

An entry v is active if |v| > 1e-5 (official value).
"""

from torch import Tensor

from solo_bayesncl.metrics.statistics import Statistics, of_features


def active_dims_of(statistics: Statistics) -> Tensor:
    return (statistics.active_counts.sum(0) > 0).sum().double()


def code_length_of(statistics: Statistics) -> Tensor:
    return statistics.active_counts.sum() / statistics.class_samples.sum()


def activation_sparsity_of(statistics: Statistics) -> Tensor:
    return 1 - code_length_of(statistics) / statistics.active_counts.size(1)


def non_negative_ratio_of(statistics: Statistics) -> Tensor:
    num_entries = statistics.class_samples.sum() * statistics.active_counts.size(1)
    return statistics.non_negative_count / num_entries


def active_dims(features: Tensor) -> Tensor:
    """Number of live dimensions: those active on at least one sample.

    Args:
        features: (M, D) float.

    Returns:
        Scalar float64, 0 to D.

    Raises:
        InputError: for features that are empty, not a matrix or not finite.

    Source:
        Official evaluation, which takes any value other than 0 as active here; this takes the
        threshold of all other metrics.

    Example:
        >>> import torch
        >>> active_dims(torch.tensor([[0.6, 0.8, 0.0], [1.0, 0.0, 0.0]]))
        tensor(2., dtype=torch.float64)
    """
    return active_dims_of(of_features(features))


def code_length(features: Tensor) -> Tensor:
    """Mean number of active dimensions per sample (L0).

    Args:
        features: (M, D) float.

    Returns:
        Scalar float64, 0 to D.

    Raises:
        InputError: for features that are empty, not a matrix or not finite.

    Source:
        Beside the official metrics: at equal consistency, the shorter code is the clearer one.

    Example:
        >>> import torch
        >>> code_length(torch.tensor([[0.6, 0.8, 0.0], [1.0, 0.0, 0.0]]))
        tensor(1.5000, dtype=torch.float64)
    """
    return code_length_of(of_features(features))


def activation_sparsity(features: Tensor) -> Tensor:
    """Share of entries that are not active, 1 - code_length / D.

    Args:
        features: (M, D) float.

    Returns:
        Scalar float64, a share in 0..1.

    Raises:
        InputError: for features that are empty, not a matrix or not finite.

    Source:
        Official evaluation. The paper's tables print the complement, the share of active entries.

    Example:
        >>> import torch
        >>> activation_sparsity(torch.tensor([[0.6, 0.8, 0.0], [1.0, 0.0, 0.0]]))
        tensor(0.5000, dtype=torch.float64)
    """
    return activation_sparsity_of(of_features(features))


def non_negative_ratio(features: Tensor) -> Tensor:
    """Share of entries that are zero or above.

    Args:
        features: (M, D) float.

    Returns:
        Scalar float64, a share in 0..1; 1 for codes of a non-negative head.

    Raises:
        InputError: for features that are empty, not a matrix or not finite.

    Source:
        Official evaluation.

    Example:
        >>> import torch
        >>> non_negative_ratio(torch.tensor([[0.6, -0.8], [1.0, 0.0]]))
        tensor(0.7500, dtype=torch.float64)
    """
    return non_negative_ratio_of(of_features(features))
