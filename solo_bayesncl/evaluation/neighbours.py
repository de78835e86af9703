"""Accuracy of the nearest training images, of which there can be too many to be kept."""

from collections.abc import Mapping
from math import nan

import torch
import torch.nn.functional as F
from torch import Tensor

K = 20
TEMPERATURE = 0.07  # solo-learn's
# Training rows compared at once: enough for the products and the choice of the nearest to be fast.
_BLOCK_ROWS = 4096
# Similarities, or votes, held at once: 128 MB in float32.
_CHUNK_ENTRIES = 2**25


class Neighbours:
    """solo-learn's weighted k-nearest-neighbour classifier (cosine, k = 20), in several spaces.

    Exact, in one pass over the training rows. Besides the queries, it holds their k nearest rows so
    far and at most 4096 rows not yet compared: of S spaces of V queries and of D dimensions in all,
    4 (V + 4096) D + 12 S V k bytes, however many rows there are. Computes where the queries are.

    Rows of classes that no query has are left out. Each of the k nearest votes for its class with
    the weight exp(cosine / 0.07). A row of zeros is at cosine 0 to everything.

    Args:
        queries: name of a space -> (V, any width) float, of any length.
        labels: (V,) int of the queries, on the CPU.
        k: number of neighbours.
    """

    def __init__(self, queries: Mapping[str, Tensor], labels: Tensor, k: int = K):
        self.classes, targets = labels.unique(return_inverse=True)
        self.nearest = {space: _Nearest(F.normalize(q), targets, k) for space, q in queries.items()}
        self._waiting: list[tuple[dict[str, Tensor], Tensor]] = []

    def update(self, rows: Mapping[str, Tensor], labels: Tensor) -> None:
        """Adds training rows.

        Args:
            rows: name of a space -> (B, width), for each space of the queries.
            labels: (B,) int, on the CPU.
        """
        known = torch.isin(labels, self.classes)
        if known.any():
            targets = torch.searchsorted(self.classes, labels[known])
            places = None if known.all() else known.nonzero().squeeze(1)
            kept = {space: _select(rows[space], places) for space in self.nearest}
            self._waiting.append((kept, targets))
        if sum(len(waiting) for _, waiting in self._waiting) >= _BLOCK_ROWS:
            self._compare()

    def accuracies(self) -> dict[str, float]:
        """Top-1 accuracy in percent by space.

        nan if no row is of a class of the queries, or a row or query is not finite.
        """
        self._compare()
        count = len(self.classes)
        return {space: nearest.accuracy(count) for space, nearest in self.nearest.items()}

    def _compare(self) -> None:
        if not self._waiting:
            return
        rows, targets = zip(*self._waiting, strict=True)
        self._waiting.clear()
        for space, nearest in self.nearest.items():
            nearest.update(torch.cat([batch[space] for batch in rows]), torch.cat(targets))


class _Nearest:
    """The k nearest rows of queries in one space: their cosines and classes, (V, k)."""

    def __init__(self, queries: Tensor, targets: Tensor, k: int):
        self.queries = queries
        self.targets = targets.to(queries.device)
        # of rows not yet seen, whose votes weigh exp(-inf) = 0
        self.cosines = queries.new_full((len(queries), k), -torch.inf)
        self.classes = torch.zeros_like(self.cosines, dtype=torch.int64)

    def update(self, rows: Tensor, classes: Tensor) -> None:
        rows = F.normalize(rows)
        classes = classes.to(rows.device, non_blocking=True)
        k = self.cosines.size(1)
        for part in _parts(len(self.queries), len(rows)):
            cosines, places = (self.queries[part] @ rows.T).topk(min(k, len(rows)))
            cosines = torch.cat([self.cosines[part], cosines], dim=1)
            candidates = torch.cat([self.classes[part], classes[places]], dim=1)
            self.cosines[part], places = cosines.topk(k)
            self.classes[part] = candidates.gather(1, places)

    def accuracy(self, num_classes: int) -> float:
        if not bool((self.cosines[:, 0].isfinite()).all()):
            return nan
        hits = 0
        for part in _parts(len(self.queries), num_classes):
            weights = (self.cosines[part] / TEMPERATURE).exp()
            votes = weights.new_zeros(len(weights), num_classes)
            votes.scatter_add_(1, self.classes[part], weights)
            hits += (votes.argmax(dim=1) == self.targets[part]).sum()
        return 100 * int(hits) / len(self.queries)


def _parts(count: int, width: int) -> list[slice]:
    """Parts of `count` rows, each of at most `_CHUNK_ENTRIES` entries of `width` a row."""
    step = max(1, _CHUNK_ENTRIES // width)
    return [slice(start, start + step) for start in range(0, count, step)]


def _select(rows: Tensor, places: Tensor | None) -> Tensor:
    return rows if places is None else rows[places.to(rows.device, non_blocking=True)]
