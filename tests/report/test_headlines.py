"""The three numbers per method at the top of the page."""

from solo_bayesncl.comparison.statistics import compare
from solo_bayesncl.report.headlines import headlines
from solo_bayesncl.report.run import RunReport


def evaluation(seed=0, consistency=0.2, length=12.4, cut=True):
    row = {"adjusted_consistency": consistency + 0.1 + 0.01 * seed, "knn": 54.0 + seed}
    return {
        "codes": {"adjusted_consistency": consistency + 0.01 * seed, "code_length": length},
        "code_lengths": {"3": row if cut else dict.fromkeys(row)},
        "accuracy": {"knn_codes": 65.0, "knn_backbone": 70.0},
    }


def compared(seeds=3, **methods):
    evaluations = {
        name: {seed: evaluation(seed, **options) for seed in range(seeds)}
        for name, options in methods.items()
    }
    return compare(evaluations)


def test_consistency_at_equal_length_and_as_trained_stand_beside_the_accuracy():
    columns = headlines([], compared(ncl={}, gated={"consistency": 0.3, "length": 256.0}))
    assert [column.label for column in columns] == [
        "chance-adjusted consistency at length 3",
        "chance-adjusted consistency as trained",
        "kNN top-1, codes at length 3",
    ]
    at_length, as_trained, accuracy = columns
    ncl, gated = as_trained.cells
    assert (ncl.text, ncl.interval, ncl.note) == (
        "21.0 %",
        "18.5 to 23.5",
        "12.4 active dimensions",
    )
    assert gated.note == "256 active dimensions"
    assert at_length.cells[0].text == "31.0 %"
    assert accuracy.cells[0].text == "55.0 %" and accuracy.cells[0].note == ""


def test_method_with_shorter_codes_has_a_dash():
    (at_length, as_trained, _) = headlines([], compared(ncl={}, short={"cut": False}))
    assert (at_length.cells[1].text, at_length.cells[1].bar) == ("–", None)
    assert as_trained.cells[1].text == "21.0 %"


def test_one_seed_has_no_interval():
    columns = headlines([], compared(seeds=1, ncl={}))
    assert [cell.interval for column in columns for cell in column.cells] == ["", "", ""]


def test_bars_lie_within_their_column_however_wide_the_interval():
    columns = headlines([], compared(seeds=2, ncl={"consistency": -0.001}, gated={}))
    for cell in (cell for column in columns for cell in column.cells):
        low, mean, high = cell.bar
        assert 0 <= low <= mean <= high <= 100


def test_value_of_some_seeds_says_of_how_many():
    runs = {seed: evaluation(seed, cut=seed > 0) for seed in range(3)}
    (at_length, *_) = headlines([], compare({"ncl": runs}))
    assert at_length.cells[0].note == "2 of 3 seeds"


def test_monosemanticity_says_who_judges():
    run = {"codes": {"monosemanticity": 0.6}, "reference": "the model's own backbone"}
    (column,) = headlines([RunReport("ncl", 0, run)], compare({"ncl": {0: run}}))
    assert column.cells[0].note == "judged by the model's own backbone"


def test_without_labels_other_numbers_take_their_place():
    codes = {"monosemanticity": 0.6, "code_length": 20.0, "active_dims": 200.0}
    columns = headlines([], compare({"ncl": {0: {"codes": codes}}}))
    assert [column.key for column in columns] == [f"codes.{name}" for name in codes]


def test_evaluation_of_an_older_version_shows_what_it_has():
    old = {"codes": {"semantic_consistency": 0.5}, "accuracy": {"knn_backbone": 70.0}}
    columns = headlines([], compare({"ncl": {0: old}}))
    assert [column.cells[0].text for column in columns] == ["50.0 %", "70.0 %"]
