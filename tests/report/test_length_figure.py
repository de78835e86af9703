"""The figure of consistency against kNN along code lengths."""

import pytest

from solo_bayesncl.comparison.statistics import compare
from solo_bayesncl.report import figures

KNN = {"as_trained": 80.0, "4": 76.0, "2": 70.0, "1": 50.0}


def evaluation(seed, lengths=("as_trained", "4", "2", "1")):
    row = {
        length: {"knn": KNN[length] + seed, "adjusted_consistency": 1 - KNN[length] / 100}
        for length in lengths
    }
    return {"codes": {"non_negative_ratio": 1.0}, "code_lengths": row}


def panel(runs):
    """The axes of the only consistency that these runs have."""
    (axes,) = figures.figure_of("lengths", [], compare(runs)).axes
    return axes


def test_line_leads_from_the_code_as_trained_to_the_shortest_one():
    axes = panel({"ncl": {seed: evaluation(seed) for seed in range(3)}})
    line, cut, as_trained = axes.lines[:3]
    # means over seeds 0, 1 and 2
    assert line.get_xdata() == pytest.approx([81.0, 77.0, 71.0, 51.0])
    assert line.get_ydata() == pytest.approx([0.20, 0.24, 0.30, 0.50])
    assert list(as_trained.get_xdata()) == [81.0]
    assert as_trained.get_markerfacecolor() == "none" != cut.get_markerfacecolor()
    assert [text.get_text() for text in axes.texts] == ["4", "2", "1"]


def test_length_that_some_seeds_do_not_reach_is_left_out():
    """Its mean would be of other runs than those of the rest of the line."""
    runs = {0: evaluation(0), 1: evaluation(1, ("as_trained", "2", "1"))}
    line = panel({"ncl": runs}).lines[0]
    assert line.get_xdata() == pytest.approx([80.5, 70.5, 50.5])


def test_labels_do_not_touch():
    """Two methods whose codes of length 16 lie side by side, little apart."""
    runs = {}
    for method, shift in (("ncl", 0.0), ("bayesncl", 2.5)):
        run = {"codes": {"non_negative_ratio": 1.0}, "code_lengths": {}}
        for length, knn in (("as_trained", 80), ("16", 60), ("1", 20)):
            row = {"knn": knn + shift, "adjusted_consistency": 1 - knn / 100}
            run["code_lengths"][length] = row
        runs[method] = {0: run}
    axes = panel(runs)
    axes.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 2
    assert not boxes[0].overlaps(boxes[1])


def test_intervals_do_not_widen_the_figure():
    """Of two seeds, they are 12.7 standard errors to each side."""
    axes = panel({"ncl": {0: evaluation(0), 1: evaluation(1)}})
    (across, _) = axes.collections
    ends = [x for segment in across.get_segments() for x, _ in segment]
    assert max(ends) == pytest.approx(80.5 + 12.706 / 2, abs=1e-3)
    assert axes.get_xlim()[1] < 84


def test_level_of_equal_knn_is_marked():
    short = {seed: evaluation(seed, ("as_trained",)) for seed in range(3)}
    for run in short.values():
        run["code_lengths"]["as_trained"]["knn"] -= 20
    axes = panel({"ncl": {seed: evaluation(seed) for seed in range(3)}, "gated": short})
    assert [61.0, 61.0] in [list(line.get_xdata()) for line in axes.lines]


def test_comparison_without_lengths_has_no_figure():
    bare = {"ncl": {0: {"codes": {"code_length": 3.0}}}}
    assert figures.figure_of("lengths", [], compare(bare)) is None
