"""What a comparison says as trained and at equal code length."""

from solo_bayesncl.comparison.sentences import sentences
from solo_bayesncl.comparison.statistics import compare
from solo_bayesncl.report import tables
from solo_bayesncl.report.catalogue import METRICS

NCL = (0.24, 0.37, 5.2)


def evaluation(as_trained, cut, length, lengths=(1, 2, 3)):
    """A model with a consistency as trained, another one at each length, and a code length."""
    return {
        "samples": 100,
        "codes": {"adjusted_consistency": as_trained, "code_length": length},
        "code_lengths": {str(at): {"adjusted_consistency": cut} for at in lengths},
    }


def compared(ncl, gated, spread=0.001):
    """Over three seeds, between which the second model varies."""

    def varied(seed):
        as_trained, cut, *others = gated
        return evaluation(as_trained + spread * (seed - 1), cut + spread * (seed - 1), *others)

    runs = {"ncl": {seed: evaluation(*ncl) for seed in range(3)}}
    return compare(runs | {"gated": {seed: varied(seed) for seed in range(3)}})


def of_consistency(result):
    return [s for s in sentences(result) if s.startswith("Chance-adjusted")]


def test_both_differences_are_told_and_where_their_signs_differ():
    as_trained, cut, reversal = of_consistency(compared(NCL, gated=(0.30, 0.33, 3.7)))
    assert as_trained.startswith("Chance-adjusted consistency as trained: gated 30.0 %, ncl 24.0 %")
    assert "Difference +6.0 points" in as_trained and "a significant difference" in as_trained
    assert cut.startswith("Chance-adjusted consistency at length 3: gated 33.0 %, ncl 37.0 %")
    assert "Difference −4.0 points" in cut and "a significant difference" in cut
    assert reversal == (
        "Chance-adjusted consistency: as trained gated is ahead, at equal length ncl is. Shorter "
        "codes score higher by themselves: as trained, those of gated have 3.70 active dimensions, "
        "those of ncl 5.20."
    )


def test_reversal_without_significance_is_one_of_means():
    result = compared(NCL, gated=(0.30, 0.33, 3.7), spread=0.1)
    assert of_consistency(result)[2].startswith(
        "Chance-adjusted consistency, by the means alone: as trained gated is ahead"
    )


def test_reversal_is_not_laid_to_shorter_codes_where_they_are_longer():
    result = compared(NCL, gated=(0.30, 0.33, 6.0))
    assert of_consistency(result)[2].endswith("at equal length ncl is.")


def test_methods_that_are_ahead_in_both_have_no_reversal():
    assert len(of_consistency(compared(NCL, gated=(0.30, 0.39, 3.7)))) == 2


def test_codes_that_do_not_reach_the_headline_length_are_compared_at_the_next_shorter_one():
    result = compared(NCL, gated=(0.30, 0.39, 2.5, (1, 2)))
    assert of_consistency(result)[1].startswith("Chance-adjusted consistency at length 2: gated")


def test_without_lengths_codes_as_trained_alone_are_described():
    result = compared((*NCL, ()), gated=(0.30, 0.39, 3.7, ()))
    (sentence,) = of_consistency(result)
    assert sentence.startswith("Chance-adjusted consistency: gated 30.0 %")
    assert all("length 3" not in cells[0] for _, cells in tables.summary_rows(result))


def test_headline_has_one_length_beside_the_codes_as_trained():
    result = compared(NCL, gated=(0.30, 0.33, 3.7))
    shown = [metric["key"] for metric, _ in tables.summary_rows(result) if metric["headline"]]
    assert shown == [
        "codes.adjusted_consistency",
        "code_lengths.3.adjusted_consistency",
        "codes.code_length",
    ]
    assert result["values"]["ncl"]["code_lengths.2.adjusted_consistency"] == [0.37] * 3


def test_knn_of_cut_codes_stands_beside_that_of_the_same_neighbours():
    """`knn_codes` has all training images as neighbours."""
    shown = [metric.key for metric in METRICS if metric.headline]
    assert shown.index("code_lengths.3.knn") == shown.index("code_lengths.as_trained.knn") + 1
    assert "accuracy.knn_codes" not in shown
