"""Linear probes of frozen features."""

import logging
import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from torch import Tensor

from solo_bayesncl.console import progress

_logger = logging.getLogger(__name__)

# Rows have unit length, so entries are small; scikit-learn's default of 1 would underfit them.
INVERSE_REGULARISATION = 100.0
# L-BFGS converged within 240 on codes of three of the demo's runs (8 to 256 dimensions, 10 classes)
# and on generated ones of up to 50 classes.
MAX_ITERATIONS = 300
# A fit takes time in proportion to its rows: at 2048 dimensions, 100 classes and 20 000 rows, 0.4 s
# an iteration on one core.
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


def linear_accuracy(
    train_codes: Tensor, train_labels: Tensor, val_codes: Tensor, val_labels: Tensor
) -> float:
    """Top-1 accuracy in percent of scikit-learn's multinomial logistic regression.

    L2-regularised (C = 100), L-BFGS, trained on the rows of `training_rows`; nan if
    the training split has a single class or codes are not finite.
    """
    rows = training_rows(train_labels)
    train_codes, train_labels = train_codes[rows], train_labels[rows]
    if len(train_labels.unique()) < 2 or not are_finite(train_codes, val_codes):
        return float("nan")
    classifier = LogisticRegression(C=INVERSE_REGULARISATION, max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():  # logged below
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(train_codes.numpy(), train_labels.numpy())
    if classifier.n_iter_.max() >= MAX_ITERATIONS:
        _logger.warning(
            "the linear probe on %d dimensions stopped after %d iterations without converging; "
            "with more, its accuracy could differ.",
            train_codes.size(1),
            MAX_ITERATIONS,
        )
    return 100 * float(classifier.score(val_codes.numpy(), val_labels.numpy()))


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
    _, counts = labels.unique(return_counts=True)
    # scikit-learn requires a row of each class on either side
    can_stratify = counts.min() >= 2 and len(counts) <= min(most, len(rows) - most)
    stratify = labels.numpy() if can_stratify else None
    chosen, _ = train_test_split(rows, train_size=most, stratify=stratify, random_state=0)
    return torch.from_numpy(chosen)


def feature_selection(
    train_codes: Tensor,
    train_labels: Tensor,
    val_codes: Tensor,
    val_labels: Tensor,
    order: Tensor | None = None,
) -> dict[str, float]:
    """Linear accuracy on the 8, 16, ... most active dimensions, and on all: at most 6 sizes.

    Dimensions are ranked by their mean activation on the training split ("feature selection" of
    the NCL paper). Above 256 dimensions, the sizes quadruple: 8, 32, ...

    Returns:
        Number of dimensions -> percent, the last being that of all.
    """
    if order is None:
        order = train_codes.mean(dim=0).argsort(descending=True, stable=True)
    sizes = subspace_sizes(train_codes.size(1), least=8, most=SELECTIONS)
    rows = training_rows(train_labels)  # here, so that not all are copied for every size
    train_codes, train_labels = train_codes[rows], train_labels[rows]
    return {
        str(size): linear_accuracy(
            train_codes[:, order[:size]], train_labels, val_codes[:, order[:size]], val_labels
        )
        for size in progress(sizes, "linear probes of the codes")
    }
