"""Numbers at several code lengths: those of the cut codes, by the functions for each."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from solo_bayesncl import metrics
from solo_bayesncl.evaluation import probes
from solo_bayesncl.evaluation.code_lengths import at_code_lengths, thresholds_of
from solo_bayesncl.evaluation.lengths import AS_TRAINED
from solo_bayesncl.evaluation.neighbours import Neighbours
from solo_bayesncl.evaluation.training_split import TrainingSplit

LABELS = torch.arange(240) % 6


def codes_of(seed: int) -> torch.Tensor:
    """Five active entries per sample; those of its class are the larger ones."""
    generator = torch.Generator().manual_seed(seed)
    prototypes = torch.rand(6, 24, generator=torch.Generator().manual_seed(9)) ** 4
    values = prototypes[LABELS] + 0.5 * torch.rand(240, 24, generator=generator)
    return F.normalize(values * (values >= values.topk(5).values[:, -1:]))


TRAIN, VAL = codes_of(0), codes_of(1)
SPLIT = TrainingSplit(
    codes=TRAIN,
    feats=TRAIN,
    labels=LABELS,
    order=torch.arange(24),
    knn_accuracy={},
    not_finite=frozenset(),
)


def measured(lengths):
    thresholds = dict(zip(map(str, lengths), thresholds_of(SPLIT, lengths), strict=True))
    return at_code_lengths(TRAIN, LABELS, VAL, LABELS, thresholds)


@pytest.mark.parametrize("length", [1, 3])
def test_numbers_are_those_of_the_cut_codes(length):
    found = measured([length])[str(length)]
    train, val = metrics.cut(TRAIN, length), metrics.cut(VAL, length, reference=TRAIN)
    assert found["threshold"] == metrics.cut_threshold(TRAIN, length)
    assert metrics.code_length(train) == length
    summary = metrics.summary(val, LABELS)
    for name in ("semantic_consistency", "adjusted_consistency", "weighted_consistency",
                 "paired_dims", "active_dims", "code_length"):  # fmt: skip
        assert found[name] == float(summary[name])
    assert found["shuffled_label_null"] < found["semantic_consistency"]
    neighbours = Neighbours({"codes": val}, LABELS)
    neighbours.update({"codes": train}, LABELS)
    # some codes of length 1 are equal, and any of them can be the nearest ones
    assert found["knn"] == pytest.approx(neighbours.accuracies()["codes"], abs=1)
    probe = probes.feature_selection(train, LABELS, val, LABELS)["24"]
    assert found["probe"] == pytest.approx(probe, abs=1)


def test_codes_as_trained_are_measured_in_the_same_way():
    found = measured([1])[AS_TRAINED]
    assert found["adjusted_consistency"] == float(metrics.adjusted_consistency(VAL, LABELS))
    assert found["code_length"] == 5
    assert found["threshold"] != found["threshold"]
    assert measured([1])["1"]["adjusted_consistency"] > found["adjusted_consistency"]


def test_length_that_the_codes_do_not_reach_has_no_numbers():
    found = measured([4, 5, 16])
    assert found["4"]["knn"] > 50
    for length in ("5", "16"):
        assert all(value != value for value in found[length].values())
        assert found[length].keys() == found["4"].keys()


def test_samples_without_an_entry_are_counted_as_empty():
    found = measured([0.5])["0.5"]
    empty = (metrics.cut(VAL, 0.5, reference=TRAIN) == 0).all(dim=1)
    assert empty.any()
    assert found["empty"] == pytest.approx(float(empty.double().mean()))


@pytest.mark.parametrize("minority_first", [True, False])
def test_neighbours_of_equal_codes_do_not_depend_on_the_order_of_files(minority_first):
    """The class of 3200 of 4000 training images wins the vote, wherever the others are."""
    labels = torch.arange(4000) >= 800
    labels = (labels if minority_first else labels.flip(0)).long()
    val_labels = torch.tensor([0, 1, 1, 1])
    found = at_code_lengths(torch.ones(4000, 1), labels, torch.ones(4, 1), val_labels, {}, False)
    assert found[AS_TRAINED]["knn"] == 75


def test_probes_can_be_left_out():
    quick = at_code_lengths(TRAIN, LABELS, VAL, LABELS, {"2": 0.4}, probed=False)["2"]
    whole = at_code_lengths(TRAIN, LABELS, VAL, LABELS, {"2": 0.4})["2"]
    assert quick.pop("probe") != whole.pop("probe") > 50
    assert quick == whole


def test_lengths_are_given_in_the_order_asked_for_and_as_trained_last():
    assert list(measured([1, 2, 3])) == ["1", "2", "3", AS_TRAINED]


def test_codes_of_a_diverged_model_have_no_thresholds():
    diverged = replace(SPLIT, codes=TRAIN * torch.nan, not_finite=frozenset({"codes"}))
    assert thresholds_of(diverged, [1, 3]) == [None, None]
