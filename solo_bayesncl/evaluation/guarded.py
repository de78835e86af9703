"""Numbers of values that may not be finite: NaN where they are not."""

from collections.abc import Callable
from functools import wraps
from math import nan
from typing import Any

import torch
from torch import Tensor

from solo_bayesncl.evaluation.probes import are_finite
from solo_bayesncl.metrics.consistency import shuffled_label_null_of
from solo_bayesncl.metrics.statistics import BatchStatistics, statistics_by_class


def nan_unless_finite(measurement: Callable) -> Callable:
    """Makes every number that a function of tensors returns NaN where one of them is not finite."""

    @wraps(measurement)
    def guarded(*tensors: Tensor, **settings: Any) -> Any:
        if are_finite(*tensors):
            return measurement(*tensors, **settings)
        # one sample of zeros is enough for the names of the numbers
        zeros = (tensor.new_zeros(1, *tensor.shape[1:]) for tensor in tensors)
        return all_nan(measurement(*zeros, **settings))

    return guarded


def all_nan(numbers: Any) -> Any:
    """The same nested numbers, all NaN."""
    if isinstance(numbers, dict):
        return {name: all_nan(value) for name, value in numbers.items()}
    return tuple(map(all_nan, numbers)) if isinstance(numbers, tuple) else nan


@nan_unless_finite
def with_null(
    values: Tensor, labels: Tensor, formulas: Callable[[BatchStatistics], dict[str, Tensor]]
) -> dict[str, float]:
    """The metrics that `formulas` returns, and semantic consistency with shuffled labels."""
    statistics = statistics_by_class(values, labels)
    null = shuffled_label_null_of(statistics, generator=torch.Generator().manual_seed(0))
    numbers = formulas(statistics) | {"shuffled_label_null": null}
    return {name: float(value) for name, value in numbers.items()}
