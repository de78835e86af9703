"""Sufficient statistics of the metrics, in a size that does not grow with the number of samples.

Every statistic is a sum over samples, so those of a data set are the sums over its batches and
processes. The metrics are functions of them alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from solo_bayesncl.metrics.inputs import check_features, check_labels

# An entry counts as active above this magnitude (official value).
ACTIVE = 1e-5

# Rows worked on at once: small enough for intermediate results to stay in a CPU's cache.
_CHUNK_ENTRIES = 2**19
# Longer for the Gram matrix, as each product is added to D x D numbers.
_GRAM_ROWS = 1024
# Wide enough for products to be fast, narrow enough to skip nearly half of a large matrix.
_GRAM_BLOCK = 256


class Statistics(Protocol):
    """C classes, D dimensions; all float64, in which counts are exact up to 2^53.

    Attributes:
        class_samples: (C,) number of samples.
        active_counts: (C, D) number of samples on which the dimension is active.
        activation_sums: (C, D) sum of |activation|.
        non_negative_count: scalar, number of entries >= 0.
        nonzero_rows: scalar, number of samples with any value other than 0.
        norm_ratio_sum: scalar, sum over those samples of |x|_1 / |x|_2.
        gram: (D, D), features^T @ features.
        squared_singular_values: of the features, ascending; those that can only be 0 may be left
            out.
    """

    class_samples: Tensor
    active_counts: Tensor
    activation_sums: Tensor
    non_negative_count: Tensor
    nonzero_rows: Tensor
    norm_ratio_sum: Tensor
    gram: Tensor

    @property
    def squared_singular_values(self) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class BatchStatistics:
    """`Statistics` of one batch, each computed on first use.

    Sums by class are scattered (`index_add_`) rather than multiplied with one-hot labels: their
    cost does not depend on the number of classes, and float64 is affordable. None of it is subject
    to autocast or TF32.
    """

    features: Tensor
    labels: Tensor
    num_classes: int

    @cached_property
    def class_samples(self) -> Tensor:
        return self.labels.bincount(minlength=self.num_classes).double()

    @cached_property
    def active_counts(self) -> Tensor:
        return self._sums_by_class[0]

    @cached_property
    def activation_sums(self) -> Tensor:
        return self._sums_by_class[1]

    @cached_property
    def non_negative_count(self) -> Tensor:
        return (self.features >= 0).count_nonzero().double()

    @cached_property
    def nonzero_rows(self) -> Tensor:
        return self._norm_ratios[1]

    @cached_property
    def norm_ratio_sum(self) -> Tensor:
        return self._norm_ratios[0]

    @cached_property
    def gram(self) -> Tensor:
        gram = self.features.new_zeros(2 * (self.features.size(1),), dtype=torch.float64)
        add_upper_gram_(gram, self.features)
        return mirror_(gram)

    @cached_property
    def _norm_ratios(self) -> tuple[Tensor, Tensor]:
        """Sum of |x|_1 / |x|_2 over the rows other than 0, and their number."""
        l1, l2 = (
            torch.linalg.vector_norm(self.features, ord=order, dim=1, dtype=torch.float64)
            for order in (1, 2)
        )
        nonzero = l2 > 0
        return (l1[nonzero] / l2[nonzero]).sum(), nonzero.sum().double()

    @cached_property
    def squared_singular_values(self) -> Tensor:
        num_samples, num_dims = self.features.shape
        if num_samples >= num_dims:
            return torch.linalg.eigvalsh(self.gram)
        rows = self.features.double()
        return torch.linalg.eigvalsh(rows @ rows.T)

    @cached_property
    def _sums_by_class(self) -> tuple[Tensor, Tensor]:
        shape = self.num_classes, self.features.size(1)
        counts, sums = (self.features.new_zeros(shape, dtype=torch.float64) for _ in range(2))
        add_by_class_(counts, sums, self.features, self.labels)
        return counts, sums


def add_by_class_(counts: Tensor, sums: Tensor, features: Tensor, labels: Tensor) -> None:
    """Adds the `active_counts` and `activation_sums` of a batch to (C, D) float64, in place."""
    for rows, row_labels in _chunks(features, labels):
        magnitudes = rows.abs().double()
        sums.index_add_(0, row_labels, magnitudes)
        # In place, as 1.0 and 0.0: booleans take twice the time.
        counts.index_add_(0, row_labels, magnitudes.gt_(ACTIVE))


def active_counts_by(labelings: Sequence[Tensor], features: Tensor, num_classes: int) -> Tensor:
    """(L, C, D) float64 `active_counts` of the same features under L labels (M,) each."""
    counts = features.new_zeros(
        (len(labelings), num_classes, features.size(1)), dtype=torch.float64
    )
    for rows, *of_rows in _chunks(features, *labelings):
        active = rows.abs().gt_(ACTIVE).double()
        for of_labeling, labels in zip(counts, of_rows, strict=True):
            of_labeling.index_add_(0, labels, active)
    return counts


def add_upper_gram_(gram: Tensor, features: Tensor) -> None:
    """Adds features^T @ features to (D, D) float64, in place.

    Only on and above the diagonal, and in some places below it; `mirror_` completes the matrix.
    """
    for rows in features.split(_GRAM_ROWS):
        rows = rows.double()
        for start in range(0, len(gram), _GRAM_BLOCK):
            columns = slice(start, start + _GRAM_BLOCK)
            gram[columns, start:].addmm_(rows[:, columns].T, rows[:, start:])


def mirror_(gram: Tensor) -> Tensor:
    """Completes what `add_upper_gram_` has filled, in place."""
    for start in range(0, len(gram), _GRAM_BLOCK):
        columns = slice(start, start + _GRAM_BLOCK)
        gram[columns.stop :, columns] = gram[columns, columns.stop :].T
    return gram


def sum_by_class(
    values: Callable[[Tensor], Tensor], features: Tensor, labels: Tensor, num_classes: int
) -> Tensor:
    """(C, D) float64 sums of `values(rows)` over the rows (M, D) of each class."""
    sums = features.new_zeros((num_classes, features.size(1)), dtype=torch.float64)
    for rows, row_labels in _chunks(features, labels):
        sums.index_add_(0, row_labels, values(rows).double())
    return sums


def _chunks(features: Tensor, *labels: Tensor) -> Iterator[tuple[Tensor, ...]]:
    size = max(1, _CHUNK_ENTRIES // features.size(1))
    return zip(features.split(size), *(of_all.split(size) for of_all in labels), strict=True)


def statistics_of_features(features: Tensor) -> BatchStatistics:
    """Statistics of features without labels, all of one class, once the features are checked."""
    features = check_features(features)
    labels = torch.zeros(len(features), dtype=torch.int64, device=features.device)
    return BatchStatistics(features, labels, num_classes=1)


def statistics_by_class(features: Tensor, labels: Tensor) -> BatchStatistics:
    """Statistics by the classes that occur, once features and labels are checked."""
    features = check_features(features)
    # Numbered anew, so that large or sparse label values cost nothing.
    classes, labels = check_labels(labels, features).unique(return_inverse=True)
    return BatchStatistics(features, labels, num_classes=len(classes))
