"""Tables in terminals of several widths."""

from io import StringIO

import pytest
from rich.console import Console

from solo_bayesncl.comparison.statistics import compare
from solo_bayesncl.report import tables
from solo_bayesncl.report.formats import formatted, formatted_difference, formatted_summary


def evaluation(consistency):
    cut = {"adjusted_consistency": consistency + 0.1}
    return {
        "samples": 100,
        "codes": {"adjusted_consistency": consistency},
        "code_lengths": {"3": cut, "16": dict.fromkeys(cut), "as_trained": cut},
    }


def of_methods(*methods):
    runs = {
        method: {seed: evaluation(0.1 * place + 0.01 * seed**2) for seed in range(3)}
        for place, method in enumerate(methods)
    }
    return compare(runs)


def printed(table, width):
    text = StringIO()
    Console(width=width, file=text).print(table)
    return text.getvalue()


def test_wide_terminal_has_intervals_and_a_narrow_one_leaves_them_out():
    table = tables.comparison_table(of_methods("simclr", "ncl", "bayesncl"))
    assert "21.7 ± 2.1 % [16.5, 26.8]" in printed(table, 120)
    narrow = printed(table, 80)
    assert "21.7 ± 2.1 %" in narrow
    assert "[" not in narrow


@pytest.mark.parametrize("width", [80, 120])
def test_ten_methods_fit(width):
    methods = [f"method_number_{number}" for number in range(10)]
    comparison = of_methods(*methods)
    text = printed(tables.comparison_table(comparison), width)
    assert max(map(len, text.splitlines())) <= width
    assert all(text.count(method) == 1 for method in methods)
    for _, (_, *cells) in tables.summary_rows(comparison, intervals=False):
        assert all(text.count(f" {cell} ") >= 1 for cell in cells)


def test_a_metric_at_a_length_stands_below_the_one_as_trained():
    lines = printed(tables.comparison_table(of_methods("ncl", "bayesncl")), 80).splitlines()
    (place,) = (n for n, line in enumerate(lines) if "chance-adjusted consistency" in line)
    assert lines[place + 1].startswith("│   at length 3 ")


def test_lengths_of_an_evaluation_are_its_columns():
    lines = printed(tables.length_table(evaluation(0.2)), 80).splitlines()
    heading, row = (next(line for line in lines if word in line) for word in ("as trained", "adj"))
    assert heading.split() == ["3", "16", "as", "trained"]
    assert row.replace("chance-adjusted consistency", "").split() == ["30.0", "%", "–", "30.0", "%"]


def test_a_value_that_rounds_to_zero_has_no_sign_and_a_difference_keeps_its_own():
    assert formatted(-0.0002, "share") == "0.0 %"
    assert formatted(-0.002, "share") == "−0.2 %"
    summary = {"n": 3, "mean": -0.0002, "sd": 0.0001, "low": -0.0004, "high": 0.0001}
    assert formatted_summary(summary, "share") == "0.0 ± 0.0 % [0.0, 0.0]"
    assert formatted_difference(-0.0002, "share") == "−0.0 points"
