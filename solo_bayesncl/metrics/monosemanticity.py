"""Monosemanticity: do the samples that activate a dimension look alike to another model?"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from solo_bayesncl.errors import InputError
from solo_bayesncl.metrics.inputs import check_features

# Rows per step, which bounds the memory for copies in float64.
_CHUNK_ROWS = 4096
_NEGLIGIBLE = 1e-12


@dataclass(frozen=True)
class Monosemanticity:
    """Mean cosine similarities of pairs of samples in the reference embedding; float64, -1..1.

    Attributes:
        per_dimension: (D,) pairs weighted by the activations of the dimension, NaN where undefined.
        mean: scalar, over the defined dimensions; NaN if there is none.
        chance: scalar, all pairs weighted the same; NaN for a single sample.
    """

    per_dimension: Tensor
    mean: Tensor
    chance: Tensor


def monosemanticity(features: Tensor, embeddings: Tensor) -> Monosemanticity:
    """Similarity, in a reference embedding, of the samples that activate a dimension together.

    With the activations of a dimension scaled to a_n in 0..1 by their minimum and maximum, and unit
    embeddings e_n:

        sum_{n != m} a_n a_m e_n . e_m / sum_{n != m} a_n a_m
            = (|sum_n a_n e_n|^2 - sum_n a_n^2) / ((sum_n a_n)^2 - sum_n a_n^2)

    An embedding that is all zero is similar to nothing: its cosines are 0.

    Args:
        features: (M, D) float.
        embeddings: (M, E) float of a reference model, of any scale.

    Returns:
        `Monosemanticity`. A dimension is NaN if fewer than two samples have a positive a_n, or if
        it is constant, where a_n is 0 / 0.

    From Pach et al., "Sparse autoencoders learn monosemantic features in vision-language models"
    (2025), arXiv 2504.02821. The closed form and `chance` are ours.

    Example:
        >>> codes = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> embeddings = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> monosemanticity(codes, embeddings).per_dimension
        tensor([1., 0.], dtype=torch.float64)
    """
    features = check_features(features)
    embeddings = check_features(embeddings, "embeddings")
    if len(features) != len(embeddings):
        raise InputError(
            f"embeddings: got {len(embeddings)} rows for the {len(features)} rows of features; "
            "give one for each sample."
        )
    low, high = (bound.double() for bound in features.aminmax(dim=0))
    totals, squares, self_similarities, vector_sums = 0, 0, 0, 0
    for rows, vectors in zip(
        features.split(_CHUNK_ROWS), embeddings.split(_CHUNK_ROWS), strict=True
    ):
        # A last dimension of ones weighs every pair the same: chance.
        weights = F.pad((rows - low) / (high - low), (0, 1), value=1.0)
        vectors = F.normalize(vectors.double())
        totals += weights.sum(0)
        squares += weights.square().sum(0)
        # |e_n| is 1, or 0 for an embedding that is all zero.
        self_similarities += vectors.square().sum(1) @ weights.square()
        vector_sums += weights.T @ vectors
    pair_weights = totals.square() - squares
    cosines = (vector_sums.square().sum(1) - self_similarities) / pair_weights
    # The largest weight is 1, so a lone one leaves pairs of nothing but rounding error.
    cosines = cosines.where(pair_weights > _NEGLIGIBLE, torch.nan)
    per_dimension, chance = cosines[:-1], cosines[-1]
    return Monosemanticity(per_dimension, per_dimension.nanmean(), chance)
