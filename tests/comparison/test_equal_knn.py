"""Consistency at equal kNN accuracy, against values worked out by hand."""

import pytest

from solo_bayesncl.comparison.equal_knn import at_equal_knn, highest_consistency
from solo_bayesncl.comparison.statistics import compare

UNREACHED = {"knn": None, "adjusted_consistency": None, "weighted_consistency": None}


def evaluation(points, non_negative_ratio=1.0, warnings=()):
    """A model whose codes have these (kNN, consistency) at each length."""
    lengths = {
        length: {"knn": knn, "adjusted_consistency": value, "weighted_consistency": value + 0.1}
        for length, (knn, value) in points.items()
    }
    return {
        "codes": {"non_negative_ratio": non_negative_ratio},
        "code_lengths": {"8": UNREACHED, "16": UNREACHED, **lengths},
        "warnings": list(warnings),
    }


ACCURATE = {"as_trained": (80.0, 0.2), "1": (60.0, 0.6)}
CONSISTENT = {"as_trained": (70.0, 0.3), "1": (50.0, 0.5)}


def test_level_is_the_highest_accuracy_that_all_methods_reach():
    found = at_equal_knn({"a": evaluation(ACCURATE), "b": evaluation(CONSISTENT)})
    assert found["a"]["level"] == found["b"]["level"] == 70.0
    assert found["b"]["adjusted_consistency"] == 0.3
    # half way between its two points
    assert found["a"]["adjusted_consistency"] == pytest.approx(0.4)
    assert found["a"]["weighted_consistency"] == pytest.approx(0.5)


def test_highest_of_several_crossings_counts():
    zigzag = [(60.0, 0.9), (80.0, 0.5), (60.0, 0.1), (80.0, 0.3)]
    assert highest_consistency(zigzag, 70.0) == pytest.approx(0.7)
    assert highest_consistency(zigzag[1:], 70.0) == 0.5


def test_line_above_the_level_has_its_highest_point():
    assert highest_consistency([(90.0, 0.2), (85.0, 0.4), (80.0, 0.3)], 70.0) == 0.4


def test_line_below_the_level_has_no_value():
    assert highest_consistency([(60.0, 0.2), (50.0, 0.4)], 70.0) is None
    assert highest_consistency([], 70.0) is None


@pytest.mark.parametrize(
    "excluded", [{"non_negative_ratio": 0.5}, {"warnings": ["the gate is closed"]}]
)
def test_signed_codes_and_broken_models_do_not_lower_the_level(excluded):
    poor = evaluation({"as_trained": (20.0, 0.0), "1": (10.0, 0.1)}, **excluded)
    found = at_equal_knn({"poor": poor, "a": evaluation(ACCURATE), "b": evaluation(CONSISTENT)})
    assert found["a"]["level"] == 70.0
    assert found["poor"]["adjusted_consistency"] is None
    # but they have a value where they reach it
    good = evaluation(ACCURATE, **excluded)
    assert at_equal_knn({"good": good, "b": evaluation(CONSISTENT)})["good"] == pytest.approx(
        {"level": 70.0, "adjusted_consistency": 0.4, "weighted_consistency": 0.5}
    )


def test_images_that_cannot_be_read_do_not_break_a_model():
    warned = {"warnings": ["1 images cannot be read and are left out: a.png."]}
    skipped = {"skipped_images": {"number": 1, "first": ["a.png"]}}
    runs = {
        "signed": evaluation({"as_trained": (20.0, 0.0)}, 0.5, **warned),
        "a": evaluation(ACCURATE, **warned),
        "b": evaluation(CONSISTENT, **warned),
    }
    found = at_equal_knn({name: run | skipped for name, run in runs.items()})
    assert found["a"]["level"] == 70.0


def test_level_of_signed_codes_alone_is_their_own():
    signed = {
        name: evaluation(points, non_negative_ratio=0.5)
        for name, points in {"a": ACCURATE, "b": CONSISTENT}.items()
    }
    assert at_equal_knn(signed)["a"]["level"] == 70.0


def test_nothing_is_compared_without_a_second_method_that_is_measured():
    assert at_equal_knn({"a": evaluation(ACCURATE)}) == {}
    unmeasured = {"codes": {"non_negative_ratio": 1.0}}
    assert at_equal_knn({"a": evaluation(ACCURATE), "old": unmeasured}) == {}


def test_values_are_compared_seed_by_seed_as_any_metric():
    def shifted(points, by):
        return evaluation({name: (knn, value + by) for name, (knn, value) in points.items()})

    runs = {
        "a": {seed: shifted(ACCURATE, 0.0) for seed in range(3)},
        "b": {seed: shifted(CONSISTENT, 0.01 * seed) for seed in range(3)},
    }
    result = compare(runs)
    assert "equal_knn" not in runs["a"][0]
    values = result["values"]["b"]["equal_knn.adjusted_consistency"]
    assert values == pytest.approx([0.3, 0.31, 0.32])
    assert result["summary"]["a"]["equal_knn.level"]["mean"] == 70.0
    differences = {d["metric"]: d for d in result["differences"]}
    found = differences["equal_knn.adjusted_consistency"]
    assert found["mean"] == pytest.approx(-0.09)
    assert found["significant"]
    # it is the same for both
    assert "equal_knn.level" not in differences
