"""Retrieval: do samples that are close to each other share a label?

Samples that are equally near to a query, as sparse codes often are, are taken in random order: the
values are expectations over it, so they do not depend on the order of the samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from solo_bayesncl.errors import InputError
from solo_bayesncl.metrics.inputs import check_features, check_labels

# Similarities held at once: 128 MB in float32, whatever the number of samples.
_CHUNK_SIMILARITIES = 2**25


def retrieval_precision(
    features: Tensor, labels: Tensor, dims: Sequence[int], ks: Sequence[int] = (1, 3, 5, 10)
) -> Tensor:
    """Precision@k of cosine neighbours in the dimensions of largest summed activation.

    Rows are normalised and dimensions sorted by their sum over all samples. For each entry of
    `dims` that many dimensions are kept and rows normalised again. Each sample is a query, never
    its own neighbour. P@k is the share of the k nearest samples that have the query's label, mean
    over queries. A query without any activation in the kept dimensions is equally near to all
    samples, so it scores what chance scores.

    Official, but for ties, whose order the official code leaves to the sort.

    Args:
        features: (M, D) float.
        labels: (M,) int, >= 0.
        dims: numbers of dimensions to keep, each 1 to D.
        ks: numbers of neighbours, each 1 to M - 1.

    Returns:
        (len(dims), len(ks)) float64 shares. Takes the memory of two more copies of the features
        (float32: 0.8 GB for 50 000 x 2048) and 128 MB of similarities.

    Example:
        >>> codes = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]])
        >>> retrieval_precision(codes, torch.tensor([0, 0, 1, 1]), dims=[2], ks=(1, 3))
        tensor([[0.5000, 0.3333]], dtype=torch.float64)
    """
    return retrieval_metrics(features, labels, dims, ks).precision


def mean_average_precision(features: Tensor, labels: Tensor) -> Tensor:
    """Mean average precision of ranking all other samples by their cosine similarity.

    Each sample is a query, never its own neighbour. Its average precision is the mean, over the
    samples of its label, of the share of that label down to their rank. Queries whose label no
    other sample has are left out; NaN if no query is left. Features may have any length; those that
    are all zero are at similarity 0 to everything. Chance is about the share of a query's label
    among the other samples.

    Takes the memory of one more copy of the features (float32: 0.4 GB for 50 000 x 2048) and 1 GB
    of similarities, 3 GB if most samples share a label. The time grows with M^2 (D + log M).

    Example:
        >>> codes = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]])
        >>> mean_average_precision(codes, torch.tensor([0, 0, 1, 1]))
        tensor(0.7500, dtype=torch.float64)
    """
    features = check_features(features)
    average = _MeanAveragePrecision(check_labels(labels, features))
    _compare(F.normalize(features), average)
    return average.compute()


@dataclass(frozen=True)
class Retrieval:
    """Float64 results of `retrieval_metrics`.

    Attributes:
        precision: (len(dims), len(ks)) of `retrieval_precision`.
        mean_average_precision: scalar, None unless requested.
    """

    precision: Tensor
    mean_average_precision: Tensor | None


def retrieval_metrics(
    features: Tensor,
    labels: Tensor,
    dims: Sequence[int],
    ks: Sequence[int],
    average_precision: bool = False,
) -> Retrieval:
    """`retrieval_precision`, and `mean_average_precision` from the same similarities.

    Args:
        features, labels, dims, ks: as of `retrieval_precision`.
        average_precision: whether to compute the latter; the last of `dims` is then D.
    """
    features = check_features(features)
    labels = check_labels(labels, features)
    _check_each("dims", dims, features.size(1), "dimensions")
    _check_each("ks", ks, features.size(0) - 1, "other samples")

    features = F.normalize(features)
    order = features.sum(0, dtype=torch.float64).sort(descending=True, stable=True).indices
    features = features[:, order]
    average = _MeanAveragePrecision(labels) if average_precision else None
    precision = []
    for place, kept in enumerate(dims, start=1):
        at_ks = _PrecisionAtKs(labels, ks)
        also = [average] if average is not None and place == len(dims) else []
        _compare(F.normalize(features[:, :kept]), at_ks, *also)
        precision.append(at_ks.compute())
    return Retrieval(torch.stack(precision), None if average is None else average.compute())


class _PrecisionAtKs:
    """(K,) P@k, from the similarities of some queries at a time."""

    def __init__(self, labels: Tensor, ks: Sequence[int]):
        self.labels, self.ks = labels, ks
        self.hits = torch.zeros(len(ks), dtype=torch.float64, device=labels.device)

    def update(self, queries: slice, similarities: Tensor) -> None:
        self.hits += _expected_hits(similarities, self.labels[queries], self.labels, self.ks)

    def compute(self) -> Tensor:
        return self.hits / (len(self.labels) * torch.tensor(self.ks, device=self.hits.device))


class _MeanAveragePrecision:
    """Mean average precision, from the similarities of some queries at a time."""

    def __init__(self, labels: Tensor):
        classes, self.labels = labels.unique(return_inverse=True)
        relevant = self.labels.bincount(minlength=len(classes))[self.labels] - 1
        self.num_queries = (relevant > 0).sum()
        ranks = torch.arange(1, len(labels) + 1, dtype=torch.float64, device=labels.device)
        self.harmonic = F.pad(ranks.reciprocal().cumsum(0), (1, 0))
        self.total = ranks.new_zeros(())

    def update(self, queries: slice, similarities: Tensor) -> None:
        has_label = self.labels == self.labels[queries].unsqueeze(1)
        self.total += _average_precision(similarities, has_label, self.harmonic).sum()

    def compute(self) -> Tensor:
        return self.total / self.num_queries


def _average_precision(similarities: Tensor, has_label: Tensor, harmonic: Tensor) -> Tensor:
    """(Q,) expected average precision of each query, 0 for one without a relevant sample.

    `similarities` (Q, M) are -inf for the query itself, `has_label` (Q, M) includes it, `harmonic`
    (M + 1,) holds the harmonic numbers H(0) to H(M).

    Take a group of n equally near samples at ranks s + 1 to s + n, r of them hits, with R hits
    before. Rank s + 1 + i holds a hit with probability r / n, and then 1 + R + i (r - 1) / (n - 1)
    hits are expected down to it. The sum over i of that over s + 1 + i, in harmonic numbers H, is

        r / n ((R + 1) h + (r - 1) / (n - 1) (n - (s + 1) h)),  h = H(s + n) - H(s).
    """
    num_hits = int(has_label.sum(1).max()) - 1
    if num_hits == 0:
        return similarities.new_zeros(len(similarities), dtype=torch.float64)
    # Queries of rare labels are filled up with -inf.
    of_hits = similarities.where(has_label, -torch.inf).topk(num_hits).values
    is_hit = of_hits > -torch.inf
    nearer, near = _count_nearer(similarities, of_hits)
    hits_nearer, hits_near = _count_nearer(of_hits, of_hits)

    step = harmonic[nearer + near] - harmonic[nearer]
    rise = (hits_near - 1).double() / (near - 1).clamp(min=1)
    precision = ((hits_nearer + 1) * step + rise * (near - (nearer + 1) * step)) / near
    return precision.where(is_hit, 0).sum(1) / is_hit.sum(1).clamp(min=1)


def _count_nearer(similarities: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """How many of each row's similarities (Q, M) are above, and how many at, levels (Q, L)."""
    ascending = similarities.sort(dim=1).values
    above = ascending.size(1) - torch.searchsorted(ascending, levels, right=True)
    return above, ascending.size(1) - torch.searchsorted(ascending, levels) - above


def _compare(rows: Tensor, *measures: _PrecisionAtKs | _MeanAveragePrecision) -> None:
    """Updates measures with the similarities (Q, M) of rows of unit length or zero.

    Those of a query to itself are -inf.
    """
    chunk = max(1, _CHUNK_SIMILARITIES // len(rows))
    for start in range(0, len(rows), chunk):
        queries = slice(start, start + chunk)
        with torch.autocast(rows.device.type, enabled=False):
            similarities = rows[queries] @ rows.T
        similarities[:, queries].fill_diagonal_(-torch.inf)
        for measure in measures:
            measure.update(queries, similarities)


def _expected_hits(
    similarities: Tensor, query_labels: Tensor, labels: Tensor, ks: Sequence[int]
) -> Tensor:
    """(K,) same-label samples among the k most similar ones, summed over queries."""
    # One more than needed, to see where the k-th and the next are equally near.
    nearest = similarities.topk(max(ks) + 1)
    is_hit = labels[nearest.indices] == query_labels.unsqueeze(1)
    hits = is_hit.cumsum(1).double()
    totals = []
    for k in ks:
        hits_at_k = hits[:, k - 1].clone()
        tied = (nearest.values[:, k - 1] == nearest.values[:, k]).nonzero().squeeze(1)
        level = nearest.values[tied, k - 1].unsqueeze(1)
        nearer = nearest.values[tied] > level
        at_level = similarities[tied] == level
        hits_at_level = at_level & (labels == query_labels[tied].unsqueeze(1))
        hit_share = hits_at_level.sum(1, dtype=torch.float64) / at_level.sum(1)
        hits_at_k[tied] = (is_hit[tied] & nearer).sum(1) + (k - nearer.sum(1)) * hit_share
        totals.append(hits_at_k.sum())
    return torch.stack(totals)


def _check_each(name: str, values: Sequence[int], highest: int, of_what: str) -> None:
    if len(values) == 0 or not all(1 <= value <= highest for value in values):
        raise InputError(
            f"{name}={list(values)}: give one or more numbers from 1 to {highest}, "
            f"the number of {of_what}."
        )
