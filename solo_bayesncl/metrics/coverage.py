"""Class coverage: how many classes have a dimension of their own?"""

from torch import Tensor

from solo_bayesncl.metrics.statistics import Statistics, of_labelled


def class_coverage_of(statistics: Statistics) -> Tensor:
    counts = statistics.active_counts
    support = counts.sum(0)
    owns = (counts > support / 2) & (support >= 2)
    return owns.any(1).sum().double()


def class_coverage(features: Tensor, labels: Tensor) -> Tensor:
    """Number of classes that own a dimension.

    A class owns a dimension that is active on two or more samples if more than half of them are of
    that class. A dimension has at most one owner. One that is active on everything has none, unless
    most samples are of one class.

    Args:
        features: (M, D) float codes, rows of unit length or zero.
        labels: (M,) int, >= 0.

    Returns:
        Scalar float64, 0 to the smaller of the number of classes and D.

    Raises:
        InputError: as `semantic_consistency`.

    Source:
        Beside the official metrics; a high consistency can come from a few classes alone.

    Example:
        >>> import torch
        >>> codes = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> class_coverage(codes, torch.tensor([0, 0, 1, 1]))
        tensor(1., dtype=torch.float64)
    """
    return class_coverage_of(of_labelled(features, labels))
