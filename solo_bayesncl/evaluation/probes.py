"""Linear probes of frozen features."""

import logging

import numpy as np
import torch
from torch import Tensor

from solo_bayesncl.console import progress
from solo_bayesncl.evaluation.logistic_regression import (
    LogisticRegression,
    fit_logistic_regression,
)

_logger = logging.getLogger(__name__)

# Rows have unit length, so entries are small; scikit-learn's default of 1 would underfit them.
INVERSE_REGULARISATION = 100.0
# Relative distance from the optimum at which a fit stops.
TOLERANCE = 1e-4
# A fit takes 45 to 250 on codes of trained runs and generated ones (8 to 2048 dimensions, 10 to 100
# classes).
MAX_EVALUATIONS = 2000
# A fit takes time in proportion to its rows.
MAX_ROWS = 20_000
SELECTIONS = 6


def are_finite(*values: Tensor) -> bool:
    """Whether all values are finite; those of a diverged model are not."""
    return all(bool(part.isfinite().all()) for part in values)


def subspace_sizes(num_dims: int, least: int, most: int | None = None) -> list[int]:
    """`least`, twice that, ... below `num_dims`, and `num_dims` itself.

    `most`, 2 or more, limits the number of sizes: where doubling gives more, each is 4 times the
    last one, or 8 times, ...
    """
    growth = 2
    while True:
        sizes = [least * growth**i for i in range(num_dims.bit_length())]
        sizes = [*(size for size in sizes if size < num_dims), num_dims]
        if most is None or len(sizes) <= most:
            return sizes
        growth *= 2


def _are_usable(train_labels: Tensor, *codes: Tensor) -> bool:
    return len(train_labels.unique()) > 1 and are_finite(*codes)


def _fit(
    codes: Tensor, labels: Tensor, start: LogisticRegression | None = None
) -> LogisticRegression:
    probe = fit_logistic_regression(
        codes, labels, INVERSE_REGULARISATION, start, TOLERANCE, MAX_EVALUATIONS
    )
    if probe.gap > TOLERANCE:
        _logger.warning(
            "the linear probe on %d dimensions stopped after %d evaluations without converging: "
            "its objective may exceed the optimum by %.1g of it, more than %g; its accuracy could "
            "differ.",
            codes.size(1),
            probe.evaluations,
            probe.gap,
            TOLERANCE,
        )
    return probe


class WarmStartedProbe:
    """A linear probe that starts each time from the weights of the last time."""

    def __init__(self):
        self._fitted: LogisticRegression | None = None

    def accuracy(
        self, train_codes: Tensor, train_labels: Tensor, val_codes: Tensor, val_labels: Tensor
    ) -> float:
        """Accuracy on the validation split in percent.

        nan if training has a single class or codes are not finite. Arguments as for
        `feature_selection`; the first dimensions are those of the last time.
        """
        if not _are_usable(train_labels, train_codes, val_codes):
            return float("nan")
        self._fitted = _fit(train_codes, train_labels, self._fitted)
        hits = self._fitted.predict(val_codes) == val_labels
        return 100 * float(hits.double().mean())


def training_rows(labels: Tensor, most: int = MAX_ROWS) -> Tensor:
    """The rows that a probe is trained on: all, or a choice of `most` of them.

    The choice is the same every time and keeps the shares of the classes, unless a class is too
    small for that.

    Args:
        labels: (M,) int.
        most: largest number of rows.

    Returns:
        Indexes of the rows, int64.
    """
    rows = np.arange(len(labels))
    if len(rows) <= most:
        return torch.from_numpy(rows)
    from sklearn.model_selection import train_test_split  # slow to import

    _, counts = labels.unique(return_counts=True)
    # scikit-learn requires a row of each class on either side
    can_stratify = counts.min() >= 2 and len(counts) <= min(most, len(rows) - most)
    stratify = labels.numpy() if can_stratify else None
    chosen, _ = train_test_split(rows, train_size=most, stratify=stratify, random_state=0)
    return torch.from_numpy(chosen)


def selection_sizes(num_dims: int) -> list[int]:
    """Numbers of dimensions of `feature_selection`."""
    return subspace_sizes(num_dims, least=8, most=SELECTIONS)


def feature_selection(
    train_codes: Tensor,
    train_labels: Tensor,
    val_codes: Tensor,
    val_labels: Tensor,
    order: Tensor | None = None,
) -> dict[str, float]:
    """Linear accuracy on the 8, 16, ... most active dimensions, and on all: at most 6 sizes.

    Dimensions are ranked by their mean activation on the training split ("feature selection" of
    the NCL paper). Above 256 dimensions, the sizes quadruple: 8, 32, ... A linear probe is
    multinomial logistic regression (L2, C = 100), computed on the device of the codes. Each starts
    at the last one's weights.

    Args:
        train_codes: (R, D) float32 of the rows that probes are trained on, see `training_rows`.
        train_labels: (R,) int.
        val_codes: (M, D) float32.
        val_labels: (M,) int.
        order: (D,) the dimensions by falling mean activation on the training split, where that has
            more rows than these.

    Returns:
        Number of dimensions -> percent, the last being that of all; nan if training has a single
        class or codes are not finite.
    """
    sizes = selection_sizes(train_codes.size(1))
    if not _are_usable(train_labels, train_codes, val_codes):
        return dict.fromkeys(map(str, sizes), float("nan"))
    if order is None:
        order = train_codes.mean(dim=0).argsort(descending=True, stable=True)
    probe = WarmStartedProbe()
    return {
        str(size): probe.accuracy(
            train_codes[:, order[:size]], train_labels, val_codes[:, order[:size]], val_labels
        )
        for size in progress(sizes, "linear probes of the codes")
    }
