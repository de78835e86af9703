"""Statistics over seeds, and the tables made of them, against scipy and by hand."""

import csv
import json
import math
import re

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from solo_bayesncl import files
from solo_bayesncl.comparison.sentences import conditions_of, sentences, warnings_of
from solo_bayesncl.comparison.statistics import compare, interval
from solo_bayesncl.report import catalogue, formats, tables


def evaluation(consistency, length=10.0, **more):
    return {
        "samples": 500,
        "optimizer_steps": 200,
        "codes": {"semantic_consistency": consistency, "code_length": length},
        "accuracy": {"knn_backbone": 90.0},
        "versions": {"torch": "2.14"},
        **more,
    }


def three_seeds():
    return {
        "ncl": {0: evaluation(0.70), 1: evaluation(0.74), 2: evaluation(0.72)},
        "bayesncl": {0: evaluation(0.80), 1: evaluation(0.85), 2: evaluation(0.81)},
    }


@pytest.mark.parametrize("n", [2, 3, 10])
def test_interval_is_that_of_scipy(n):
    values = np.random.default_rng(n).normal(size=n)
    found = interval(list(values))
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    assert found["mean"] == pytest.approx(values.mean())
    assert found["sd"] == pytest.approx(values.std(ddof=1))


def test_interval_covers_the_mean_in_95_of_100_experiments():
    rng = np.random.default_rng(0)
    covered = [
        found["low"] <= 3.0 <= found["high"]
        for found in (interval(list(rng.normal(3.0, 2.0, size=4))) for _ in range(2000))
    ]
    assert np.mean(covered) == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 2000))


@pytest.mark.parametrize(("values", "mean"), [([], None), ([0.5], 0.5)])
def test_fewer_than_two_seeds_have_no_interval(values, mean):
    empty = {"n": len(values), "mean": mean, "sd": None, "low": None, "high": None}
    assert interval(values) == empty


def test_difference_is_paired_by_seed():
    """Seeds differ more than methods: unpaired, the difference would drown."""
    easy = {seed: evaluation(0.2 + 0.2 * seed) for seed in range(3)}
    better = {seed: evaluation(0.2 + 0.2 * seed + 0.05 + 0.001 * seed) for seed in range(3)}
    result = compare({"a": easy, "b": better})
    (found,) = (d for d in result["differences"] if d["metric"] == "codes.semantic_consistency")
    assert (found["method"], found["against"], found["n"]) == ("b", "a", 3)
    test = stats.ttest_rel(
        [e["codes"]["semantic_consistency"] for e in better.values()],
        [e["codes"]["semantic_consistency"] for e in easy.values()],
    )
    low, high = test.confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    assert found["significant"]


def test_a_seed_that_one_method_lacks_is_left_out_of_the_difference():
    runs = three_seeds()
    del runs["ncl"][1]
    runs["bayesncl"][2]["codes"]["semantic_consistency"] = None
    result = compare(runs)
    assert result["values"]["ncl"]["codes.semantic_consistency"] == [0.70, None, 0.72]
    (found,) = (d for d in result["differences"] if d["metric"] == "codes.semantic_consistency")
    assert found["n"] == 1
    assert found["mean"] == pytest.approx(0.1)
    assert found["significant"] is None


def test_means_in_a_sentence_are_those_of_the_seeds_that_are_paired():
    runs = three_seeds()
    runs["ncl"][1]["codes"]["semantic_consistency"] = None  # 74 %, while the other one has 85 %
    result = compare(runs)
    (told,) = (s for s in sentences(result) if s.startswith("Semantic consistency"))
    assert told.startswith("Semantic consistency: bayesncl 80.5 %, ncl 71.0 %. Difference +9.5 ")
    assert "over 2 of 3 seeds: not judged" in told
    verdicts = {metric["key"]: cells[-1] for metric, cells in tables.difference_rows(result)}
    assert verdicts["codes.semantic_consistency"] == "not judged (2 of 3 seeds)"
    assert verdicts["accuracy.knn_backbone"] == "no significant difference"


def test_sentences_compare_each_control_with_the_last_method_but_not_their_backbones():
    runs = three_seeds()
    runs |= {name: dict(runs["ncl"]) for name in ("sparse", "parts")}
    settings = {name: {"control": {"of": "ncl"}} for name in ("sparse", "parts")}
    told = sentences(compare(runs) | {"settings": settings})
    start = "Semantic consistency: "
    compared = [re.findall(r"(\w+) \d", s) for s in told if s.startswith(start)]
    pairs = [["bayesncl", "ncl"], ["sparse", "bayesncl"], ["parts", "bayesncl"]]
    assert [names[:2] for names in compared] == pairs
    assert [s.split(". ")[0] for s in told if s.startswith("kNN")] == [
        "kNN top-1, backbone: bayesncl 90.0 %, ncl 90.0 %"
    ]


def test_every_pair_of_methods_is_compared_once():
    runs = {name: {0: evaluation(0.5), 1: evaluation(0.6)} for name in "abcd"}
    pairs = {(d["method"], d["against"]) for d in compare(runs)["differences"]}
    assert pairs == {("b", "a"), ("c", "a"), ("d", "a"), ("c", "b"), ("d", "b"), ("d", "c")}


def test_sentences_tell_differences_and_their_absence():
    runs = three_seeds()
    said = sentences(compare(runs))
    assert any("a significant difference" in s and "Semantic consistency" in s for s in said)
    assert any(s.startswith("kNN") and "no significant difference" in s for s in said)
    one_seed = {method: {0: found[0]} for method, found in runs.items()}
    assert all("not judged" in s for s in sentences(compare(one_seed)))


def test_unequal_steps_samples_and_versions_are_reported():
    runs = three_seeds()
    fair = compare(runs) | conditions_of(runs)
    assert warnings_of(fair) == []
    runs["ncl"][0]["optimizer_steps"] = 100
    runs["ncl"][1]["versions"]["torch"] = "2.15"
    told = warnings_of(compare(runs) | conditions_of(runs))
    assert any("optimizer steps differ (ncl 100, 200, 200" in s for s in told)
    assert any("torch 2.14, 2.15" in s for s in told)


def test_a_run_that_diverged_is_reported_and_left_out():
    runs = three_seeds()
    runs["ncl"][2] |= {"not_finite": ["codes"]}
    runs["ncl"][2]["codes"]["semantic_consistency"] = None
    result = compare(runs) | conditions_of(runs)
    assert result["summary"]["ncl"]["codes.semantic_consistency"]["n"] == 2
    assert any(s.startswith("ncl, seed 2: codes hold") for s in warnings_of(result))
    assert "(2 of 3 seeds)" in tables.markdown(result | {"sentences": []})


def test_records_are_in_the_order_of_the_seeds():
    runs = {"ncl": {1: evaluation(0.1, samples=1), 0: evaluation(0.0, samples=0)}}
    result = compare(runs) | conditions_of(runs)
    assert result["seeds"] == [0, 1]
    assert result["values"]["ncl"]["codes.semantic_consistency"] == [0.0, 0.1]
    assert result["samples"]["ncl"] == [0, 1]


def test_equal_differences_are_not_called_significant():
    """Accuracies of few images repeat; equal differences say nothing of their spread."""
    runs = {
        method: {seed: evaluation(consistency) for seed in range(3)}
        for method, consistency in {"a": 0.5, "b": 0.625}.items()
    }
    result = compare(runs)
    found = {d["metric"]: d for d in result["differences"]}
    assert found["codes.semantic_consistency"]["significant"] is None
    assert found["accuracy.knn_backbone"]["significant"] is False  # no difference at all
    assert any("without spread it is not judged" in s for s in sentences(result))


def test_differences_that_rounding_alone_tells_apart_are_equal():
    """0.6 - 0.4 is not 0.7 - 0.5 in binary."""
    runs = {
        method: {seed: evaluation(0.1 * (seed + least)) for seed in range(3)}
        for method, least in {"a": 4, "b": 6}.items()
    }
    (found,) = (d for d in compare(runs)["differences"] if d["metric"].endswith("consistency"))
    assert 0 < found["sd"] < 1e-15
    assert found["significant"] is None


def test_two_seeds_are_not_judged():
    """Nor is an interval that excludes 0: with so few, t-intervals hardly ever do."""
    runs = {"a": {0: evaluation(0.5), 1: evaluation(0.6)}, "b": {0: evaluation(0.7), 1: evaluation(0.801)}}  # fmt: skip  # noqa: E501
    result = compare(runs)
    (found,) = (d for d in result["differences"] if d["metric"] == "codes.semantic_consistency")
    assert found["low"] > 0
    assert found["significant"] is None
    (sentence,) = (s for s in sentences(result) if s.startswith("Semantic"))
    assert sentence.endswith("interval +19.4 to +20.7 over 2 seeds: not judged below 3.")


def test_tables_hold_the_same_numbers_in_every_format(tmp_path):
    result = compare(three_seeds())
    result["sentences"] = sentences(result)
    tables.write_tables(tmp_path, result)
    with (tmp_path / "comparison.csv").open() as file:
        rows = {(r["metric"], r["method"]): r for r in csv.DictReader(file)}
    row = rows["codes.semantic_consistency", "bayesncl"]
    assert [float(row[f"seed {seed}"]) for seed in range(3)] == [0.80, 0.85, 0.81]
    summary = result["summary"]["bayesncl"]["codes.semantic_consistency"]
    assert float(row["mean"]) == summary["mean"]
    assert float(row["low"]) == summary["low"]
    cell = formats.formatted_summary(summary, "share")
    assert cell == "82.0 ± 2.6 % [75.4, 88.6]"
    assert cell in (tmp_path / "comparison.md").read_text()
    assert r"82.0 $\pm$ 2.6 \% [75.4, 88.6]" in (tmp_path / "comparison.tex").read_text()
    console = Console(width=120, record=True)
    console.print(tables.comparison_table(result))
    assert cell in console.export_text()
    with (tmp_path / "differences.csv").open() as file:
        assert {r["significant"] for r in csv.DictReader(file)} == {"True", "False"}


def test_latex_escapes_names(tmp_path):
    runs = {"a_b": {0: evaluation(0.5)}, "c%d": {0: evaluation(0.6)}}
    text = tables.latex(compare(runs))
    assert r"a\_b" in text
    assert r"c\%d" in text
    assert text.count(r"\\") == text.count("&") // 2


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.8126, "share", "81.3 %"),
        (97.24, "percent", "97.2 %"),
        (12.0, "count", "12"),
        (12.5, "count", "12.5"),
        (2.104, "nats", "2.10"),
        (0.00012345, "number", "0.000123"),
        (-0.5, "number", "−0.50"),
        (0, "number", "0.00"),
        (None, "share", "–"),
        (math.nan, "share", "–"),
    ],
)
def test_values_read_as_their_unit(value, unit, expected):
    assert formats.formatted(value, unit) == expected


def test_differences_of_shares_are_points_with_a_sign():
    assert formats.formatted_difference(0.012, "share") == "+1.2 points"
    assert formats.formatted_difference(-3, "count") == "−3.0"
    assert formats.formatted_interval(-0.01, 0.02, "share") == "−1.0 to +2.0"


def test_catalogue_names_every_metric_once_and_finds_it():
    keys = [metric.key for metric in catalogue.METRICS]
    assert len(set(keys)) == len(keys)
    found = {m.key: m.of(evaluation(0.5)) for m in catalogue.METRICS}
    assert found["codes.semantic_consistency"] == 0.5
    assert found["gate.open_rate"] is None


def test_factors_of_any_name_are_reported():
    factors = {"a.b": {"kind": "categorical", "codes": {"mutual_information_mean": 0.1}}}
    (metric,) = (
        m for m in catalogue.reported_in([evaluation(0.5, factors=factors)]) if "factors" in m.key
    )
    assert metric.of({"factors": factors}) == 0.1


def test_comparison_is_plain_json(tmp_path):
    result = compare(three_seeds())
    result["sentences"] = sentences(result)
    files.write_json(tmp_path / "c.json", result)
    assert json.loads((tmp_path / "c.json").read_text())["differences"] == result["differences"]
