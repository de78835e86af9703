"""Monosemanticity: do the samples that activate a dimension look alike to another model?"""

from collections.abc import Sequence
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
    return monosemanticities([features], embeddings)[0]


def monosemanticities(spaces: Sequence[Tensor], embeddings: Tensor) -> list[Monosemanticity]:
    """`monosemanticity` of several features (M, any width) of the same samples, in one pass."""
    spaces = [check_features(features) for features in spaces]
    embeddings = check_features(embeddings, "embeddings")
    for features in spaces:
        if len(features) != len(embeddings):
            raise InputError(
                f"embeddings: got {len(embeddings)} rows for the {len(features)} rows of features; "
                "give one for each sample."
            )
    bounds = [[bound.double() for bound in features.aminmax(dim=0)] for features in spaces]
    totals, squares, self_similarities, vector_sums = 0, 0, 0, 0
    for start in range(0, len(embeddings), _CHUNK_ROWS):
        part = slice(start, start + _CHUNK_ROWS)
        weights = [
            (features[part] - low) / (high - low)
            for features, (low, high) in zip(spaces, bounds, strict=True)
        ]
        # A last dimension of ones weighs every pair the same: chance.
        weights = torch.cat([*weights, torch.ones_like(weights[0][:, :1])], dim=1)
        vectors = F.normalize(embeddings[part].double())
        totals += weights.sum(0)
        squares += weights.square().sum(0)
        # |e_n| is 1, or 0 for an embedding that is all zero.
        self_similarities += vectors.square().sum(1) @ weights.square()
        vector_sums += weights.T @ vectors
    pair_weights = totals.square() - squares
    cosines = (vector_sums.square().sum(1) - self_similarities) / pair_weights
    # The largest weight is 1, so a lone one leaves pairs of nothing but rounding error.
    cosines = cosines.where(pair_weights > _NEGLIGIBLE, torch.nan)
    *by_space, chance = cosines.split([*(features.size(1) for features in spaces), 1])
    return [Monosemanticity(of_dims, of_dims.nanmean(), chance[0]) for of_dims in by_space]
