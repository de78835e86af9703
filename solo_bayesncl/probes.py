"""What can be read off features with labels: neighbours and linear classifiers."""

import warnings

import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from solo_bayesncl.hosts import host

KNN_K = 20
# Rows have unit length, so entries are small; scikit-learn's default of 1 would underfit them.
INVERSE_REGULARISATION = 100.0
MAX_ITERATIONS = 300


def subspace_sizes(num_dims: int, least: int) -> list[int]:
    """`least`, twice that, ... below `num_dims`, and `num_dims` itself."""
    doubling = (least * 2**i for i in range(num_dims.bit_length()))
    return [*(size for size in doubling if size < num_dims), num_dims]


def knn_accuracy(
    train_feats: Tensor, train_labels: Tensor, val_feats: Tensor, val_labels: Tensor
) -> float:
    """Top-1 accuracy in percent of the host's weighted kNN (cosine, k = 20) on unit rows.

    The host needs labels 0..n-1 that all occur in validation, so training images of other classes
    are left out.

    Args:
        train_feats, val_feats: (M, D) float.
        train_labels, val_labels: (M,) int.
    """
    classes, val_targets = val_labels.unique(return_inverse=True)
    known = torch.isin(train_labels, classes)
    knn = host().KNN(k=KNN_K, distance_fx="cosine")
    knn.update(
        train_features=F.normalize(train_feats[known]),
        train_targets=torch.searchsorted(classes, train_labels[known]),
        test_features=F.normalize(val_feats),
        test_targets=val_targets,
    )
    top1, _ = knn.compute()
    return float(top1)


def linear_accuracy(
    train_codes: Tensor, train_labels: Tensor, val_codes: Tensor, val_labels: Tensor
) -> float:
    """Top-1 accuracy in percent of scikit-learn's multinomial logistic regression.

    L2-regularised (C = 100), L-BFGS, no random numbers. Arguments as `knn_accuracy`; nan if the
    training split has a single class.
    """
    if len(train_labels.unique()) < 2:
        return float("nan")
    classifier = LogisticRegression(C=INVERSE_REGULARISATION, max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():  # the last percent of the loss does not move the accuracy
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(train_codes.numpy(), train_labels.numpy())
    return 100 * float(classifier.score(val_codes.numpy(), val_labels.numpy()))


def feature_selection(
    train_codes: Tensor, train_labels: Tensor, val_codes: Tensor, val_labels: Tensor
) -> dict[str, float]:
    """Linear accuracy on the 8, 16, ... most active dimensions, and on all.

    Dimensions are ranked by their mean activation on the training split ("feature selection" of
    the NCL paper).

    Returns:
        Number of dimensions -> percent, the last being that of all.
    """
    order = train_codes.mean(dim=0).argsort(descending=True, stable=True)
    return {
        str(size): linear_accuracy(
            train_codes[:, order[:size]], train_labels, val_codes[:, order[:size]], val_labels
        )
        for size in subspace_sizes(train_codes.size(1), least=8)
    }
