"""The three numbers per method that the page shows first, with their intervals."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from solo_bayesncl.evaluation.lengths import HEADLINE_LENGTH
from solo_bayesncl.report.catalogue import METRICS, Metric
from solo_bayesncl.report.formats import formatted, formatted_ends
from solo_bayesncl.report.run import Comparison, Runs, by_label

# Agreement with classes and accuracy of the same codes at equal length are one point of the figure
# of lengths, and as trained is what the method itself yields. The first three places that any
# method has a value for are shown: without labels, these are the last three.
PLACES = (
    (f"code_lengths.{HEADLINE_LENGTH}.adjusted_consistency",),
    ("codes.adjusted_consistency", "codes.semantic_consistency"),
    (f"code_lengths.{HEADLINE_LENGTH}.knn", "accuracy.knn_codes", "accuracy.knn_backbone"),
    ("codes.monosemanticity",),
    ("codes.code_length",),
    ("codes.active_dims",),
)
SHOWN = 3
LENGTH = "codes.code_length"

Summary = dict[str, Any]  # n, mean, low, high


@dataclass(frozen=True)
class Cell:
    """A method's number.

    Attributes:
        text: its mean over seeds.
        interval: of the mean, empty without one.
        note: what it has to be read with.
        bar: low, mean and high in percent of the column's scale; None without a value.
    """

    text: str
    interval: str
    note: str
    bar: tuple[float, float, float] | None


@dataclass(frozen=True)
class Headline:
    """A column: a metric and the number of each method, in their order."""

    key: str
    label: str
    cells: list[Cell]


def headlines(runs: Runs, comparison: Comparison | None) -> list[Headline]:
    """At most three columns, whose methods are those of the comparison or the labels of runs."""
    summaries = _summaries(runs, comparison)
    known = {metric.key: metric for metric in METRICS}
    columns = []
    for place in PLACES:
        measured = (key for key in place if any(_mean(s, key) is not None for s in summaries))
        key = next(measured, None)
        if key is not None:
            columns.append(_column(known[key], summaries))
    return _named_apart(columns[:SHOWN])


def _named_apart(columns: list[Headline]) -> list[Headline]:
    """Numbers as trained say so beside those at a length."""
    if not any(column.key.startswith("code_lengths.") for column in columns):
        return columns
    return [
        replace(column, label=f"{column.label} as trained")
        if column.key.startswith("codes.")
        else column
        for column in columns
    ]


def _summaries(runs: Runs, comparison: Comparison | None) -> list[dict[str, Summary]]:
    if comparison:
        return [comparison["summary"][method] for method in comparison["methods"]]
    alone = (group[0].evaluation for group in by_label(runs).values())
    return [
        {
            metric.key: {"n": 1, "mean": metric.of(of), "low": None, "high": None}
            for metric in METRICS
        }
        for of in alone
    ]


def _mean(summary: dict[str, Summary], key: str) -> float | None:
    return summary.get(key, {}).get("mean")


def _column(metric: Metric, summaries: Iterable[dict[str, Summary]]) -> Headline:
    values = [summary.get(metric.key) or {"n": 0, "mean": None} for summary in summaries]
    # the scale is that of means: intervals of two seeds reach far beyond them and are cut off
    means = [value["mean"] for value in values if value["mean"] is not None]
    ends = [value["high"] for value in values if value["n"] > 2 and value.get("high") is not None]
    low, high = min(0.0, *means), max(*means, *ends, 1e-9)
    cells = []
    for value, summary in zip(values, summaries, strict=True):
        ends = value.get("low"), value.get("high")
        mean = value["mean"]
        length = _mean(summary, LENGTH)
        note = ""
        if metric.key in PLACES[1] and None not in (mean, length):
            note = f"{length:.{0 if length >= 100 else 1}f} active dimensions"
        bar = None
        if mean is not None:
            places = ((mean if end is None else end) for end in (ends[0], mean, ends[1]))
            bar = tuple(_percent((place - low) / (high - low)) for place in places)
        interval = formatted_ends(*ends, metric.unit)
        cells.append(Cell(formatted(mean, metric.unit), interval, note, bar))
    return Headline(metric.key, metric.label, cells)


def _percent(share: float) -> float:
    return round(100 * min(max(share, 0.0), 1.0), 2)
