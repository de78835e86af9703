"""The few sentences that a page shows."""

import pytest

from solo_bayesncl.comparison.sentences import (
    HIGHLIGHTS,
    OF_A_METRIC,
    conclusions,
    highlights,
    sentences,
)
from solo_bayesncl.comparison.statistics import compare


def evaluation(consistency, cut, knn):
    return {
        "codes": {"adjusted_consistency": consistency, "code_length": 10.0},
        "code_lengths": {"3": {"adjusted_consistency": cut}},
        "accuracy": {"knn_backbone": knn},
    }


def compared(numbers, seeds=3):
    """`numbers`: consistency as trained and at length 3, and kNN, of each method."""
    return compare(
        {
            name: {
                seed: evaluation(
                    *(
                        value + spread * seed * place
                        for value, spread in zip(values, (1e-3, 2e-3, 1e-3), strict=True)
                    )
                )
                for seed in range(seeds)
            }
            for place, (name, values) in enumerate(numbers.items())
        }
    )


def test_only_clear_differences_are_shown():
    result = compared({"ncl": (0.2, 0.3, 70.0), "gated": (0.2, 0.4, 70.0)})
    (text,) = highlights(result)
    assert text.startswith("Chance-adjusted consistency at length 3: gated 40.2 %, ncl 30.0 %.")
    assert text.endswith("95 % interval +9.7 to +10.7.")
    assert len(sentences(result)) > 1


def test_a_reversal_comes_first():
    result = compared({"ncl": (0.2, 0.4, 70.0), "gated": (0.3, 0.3, 60.0)})
    assert "as trained gated is ahead, at equal length ncl is" in highlights(result)[0]


def test_a_lead_that_equal_length_takes_away_comes_first():
    ncl = {seed: evaluation(0.2, 0.4, 70.0) for seed in range(3)}
    gated = {
        seed: evaluation(0.3 + 1e-3 * seed, 0.41 + 0.01 * (seed - 1), 60.0) for seed in range(3)
    }
    assert highlights(compare({"ncl": ncl, "gated": gated}))[0].startswith(
        "Chance-adjusted consistency: the difference between gated and ncl is +10.1 points as "
        "trained and +1.0 points at equal length."
    )


def test_change_of_differences_that_are_not_clear_themselves_is_not_shown():
    """As trained and at equal length, gated varies in the same way between seeds."""
    ncl = {seed: evaluation(0.2, 0.2, 70.0) for seed in range(3)}
    gated = {
        seed: evaluation(0.25 + 0.05 * (seed - 1), 0.21 + 0.05 * (seed - 1) + 1e-3 * seed, 70.0)
        for seed in range(3)
    }
    assert highlights(compare({"ncl": ncl, "gated": gated})) == []


@pytest.mark.parametrize("spread, shown", [(0.01, True), (0.03, False)])
def test_difference_that_other_seeds_might_turn_round_is_not_repeated(spread, shown):
    """Both are significant at 95 %, the first at 99 %, too."""
    values = {
        name: {seed: evaluation(0.2, mean + spread * place * (seed - 1), 70.0) for seed in range(3)}
        for place, (name, mean) in enumerate({"ncl": 0.3, "gated": 0.4}.items())
    }
    result = compare(values)
    assert any("a significant difference" in text for text in sentences(result))
    assert bool(highlights(result)) == shown


@pytest.mark.parametrize("seeds", [1, 2])
def test_nothing_is_shown_before_it_can_be_judged(seeds):
    result = compared({"ncl": (0.2, 0.3, 70.0), "gated": (0.3, 0.4, 60.0)}, seeds)
    assert highlights(result) == []


def test_many_methods_have_a_handful_of_sentences():
    numbers = {f"m{n}": (0.1 * n, 0.05 * n, 50.0 + n) for n in range(10)}
    shown = highlights(compared(numbers))
    assert len(shown) == HIGHLIGHTS
    starts = [text.partition(":")[0] for text in shown]
    assert max(map(starts.count, starts)) == OF_A_METRIC


def test_pair_without_a_clear_difference_is_named():
    noise = {seed: evaluation(0.3 + 0.1 * (seed - 1), 0.5, 60.0) for seed in range(3)}
    ncl = {seed: evaluation(0.3, 0.5, 60.0) for seed in range(3)}
    simclr = {seed: evaluation(0.2 - 1e-3 * seed, 0.3, 70.0) for seed in range(3)}
    result = compare({"simclr": simclr, "ncl": ncl, "gated": noise})
    result |= {"highlights": highlights(result), "warnings": []}
    assert conclusions(result)[-1].startswith("gated and ncl: no clear difference in chance-adj")
    assert sum("no clear" in line for line in conclusions(result)) == 1
