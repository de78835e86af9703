"""Nearest neighbours in batches are those of solo-learn's classifier on all rows at once."""

from math import isnan

import pytest
import torch
import torch.nn.functional as F

from solo_bayesncl.adapters import adapter
from solo_bayesncl.evaluation import neighbours
from solo_bayesncl.evaluation.neighbours import Neighbours


def rows(count: int, width: int, num_classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy rows of any length that tell the class, and labels in random order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (count,), generator=generator)
    centres = torch.randn(num_classes, width, generator=torch.Generator().manual_seed(0))
    return centres[labels] + 2 * torch.randn(count, width, generator=generator), labels


def of_solo_learn(train, train_labels, val, val_labels, k: int = 20) -> float:
    """Its classifier needs unit rows in one release, and labels 0..n-1 that all occur in `val`."""
    classes, targets = val_labels.unique(return_inverse=True)
    known = torch.isin(train_labels, classes)
    knn = adapter().KNN(k=k, distance_fx="cosine")
    knn.update(
        train_features=F.normalize(train[known]),
        train_targets=torch.searchsorted(classes, train_labels[known]),
        test_features=F.normalize(val),
        test_targets=targets,
    )
    return float(knn.compute()[0])


def in_batches(train, train_labels, val, val_labels, batch_size: int = 7, k: int = 20) -> float:
    found = Neighbours({"codes": val}, val_labels, k)
    batches = zip(train.split(batch_size), train_labels.split(batch_size), strict=True)
    for batch, labels in batches:
        found.update({"codes": batch}, labels)
    return found.accuracies()["codes"]


@pytest.mark.parametrize("k", [1, 20])
@pytest.mark.parametrize(("block", "chunk"), [(1, 1), (64, 1000), (4096, 2**25)])
def test_accuracy_is_that_of_solo_learn(monkeypatch, block, chunk, k):
    monkeypatch.setattr(neighbours, "_BLOCK_ROWS", block)
    monkeypatch.setattr(neighbours, "_CHUNK_ENTRIES", chunk)
    train, val = rows(500, 8, 5, seed=1), rows(200, 8, 5, seed=2)
    expected = of_solo_learn(*train, *val, k)
    assert 30 < expected < 95
    assert in_batches(*train, *val, k=k) == expected


def test_fewer_rows_than_neighbours_all_vote():
    train, val = rows(9, 8, 3, seed=1), rows(50, 8, 3, seed=2)
    assert in_batches(*train, *val) == of_solo_learn(*train, *val)


def test_rows_of_classes_that_no_query_has_are_left_out():
    train, (val, labels) = rows(500, 8, 6, seed=1), rows(200, 8, 6, seed=2)
    kept = (labels != 0) & (labels != 3)
    val, labels = val[kept], labels[kept]
    found = in_batches(*train, val, labels)
    assert found == of_solo_learn(*train, val, labels)
    among = torch.isin(train[1], labels)
    assert found == in_batches(train[0][among], train[1][among], val, labels)


def test_spaces_are_compared_apart():
    train, val = rows(300, 12, 4, seed=1), rows(100, 12, 4, seed=2)
    cut = {"all": slice(None), "two": slice(2)}
    found = Neighbours({name: val[0][:, part] for name, part in cut.items()}, val[1])
    found.update({name: train[0][:, part] for name, part in cut.items()}, train[1])
    expected = {
        name: of_solo_learn(train[0][:, part], train[1], val[0][:, part], val[1])
        for name, part in cut.items()
    }
    assert found.accuracies() == expected
    assert expected["two"] < expected["all"]


def test_accuracy_is_undefined_without_a_known_class_or_with_values_that_are_not_finite():
    codes, labels = torch.eye(4), torch.arange(4)
    assert isnan(in_batches(codes, labels, codes, labels + 4))
    assert isnan(in_batches(codes * torch.nan, labels, codes, labels))
    assert isnan(in_batches(codes, labels, codes / 0, labels))
