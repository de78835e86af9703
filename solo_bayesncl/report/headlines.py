"""The three numbers per method that the page shows first, with their intervals."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from solo_bayesncl.evaluation.lengths import HEADLINE_LENGTH
from solo_bayesncl.report.catalogue import METRICS, Metric
from solo_bayesncl.report.formats import formatted, formatted_ends
from solo_bayesncl.report.run import Comparison, Runs, by_label

AS_TRAINED_CONSISTENCY = ("codes.adjusted_consistency", "codes.semantic_consistency")
# Agreement with classes and accuracy of the same codes at equal length are one point of the figure
# of lengths, and as trained is what the method itself yields. The first three places that any
# method has a value for are shown: without labels, these are the last three.
PLACES = (
    (f"code_lengths.{HEADLINE_LENGTH}.adjusted_consistency",),
    AS_TRAINED_CONSISTENCY,
    (f"code_lengths.{HEADLINE_LENGTH}.knn", "accuracy.knn_codes", "accuracy.knn_backbone"),
    ("codes.monosemanticity",),
    ("codes.code_length",),
    ("codes.active_dims",),
)
SHOWN = 3
LENGTH = "codes.code_length"

Summary = dict[str, Any]  # n, mean, low, high
NOTHING: Summary = {"n": 0, "mean": None, "low": None, "high": None}


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
class _Method:
    """Summaries by metric, the number of seeds and the reference of monosemanticity."""

    summary: dict[str, Summary]
    seeds: int
    reference: str | None

    def of(self, key: str) -> Summary:
        return self.summary.get(key) or NOTHING


@dataclass(frozen=True)
class Headline:
    """A column: a metric and the number of each method, in their order."""

    key: str
    label: str
    cells: list[Cell]


def headlines(runs: Runs, comparison: Comparison | None) -> list[Headline]:
    """At most three columns, whose methods are those of the comparison or the labels of runs."""
    methods = _methods(runs, comparison)
    known = {metric.key: metric for metric in METRICS}
    columns = []
    for place in PLACES:
        measured = (key for key in place if any(m.of(key)["mean"] is not None for m in methods))
        key = next(measured, None)
        if key is not None:
            columns.append(_column(known[key], methods))
    return _named_apart(columns[:SHOWN])


def _methods(runs: Runs, comparison: Comparison | None) -> list[_Method]:
    first = {label: group[0].evaluation for label, group in by_label(runs).items()}
    references = {label: evaluation.get("reference") for label, evaluation in first.items()}
    if comparison:
        seeds = len(comparison["seeds"])
        summaries = comparison["summary"]
        return [_Method(summaries[m], seeds, references.get(m)) for m in comparison["methods"]]
    return [
        _Method(
            {metric.key: NOTHING | {"n": 1, "mean": metric.of(of)} for metric in METRICS},
            seeds=1,
            reference=references[label],
        )
        for label, of in first.items()
    ]


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


def _column(metric: Metric, methods: Sequence[_Method]) -> Headline:
    values = [method.of(metric.key) for method in methods]
    means = [value["mean"] for value in values if value["mean"] is not None]
    # intervals of two seeds reach far beyond the means: they do not set the scale and are cut off
    ends = [value["high"] for value in values if value["n"] > 2 and value["high"] is not None]
    scale = min(0.0, *means), max(*means, *ends, 1e-9)
    cells = [
        Cell(
            text=formatted(value["mean"], metric.unit),
            interval=formatted_ends(value["low"], value["high"], metric.unit),
            note=_note(metric, method, value),
            bar=_bar(value, *scale),
        )
        for value, method in zip(values, methods, strict=True)
    ]
    return Headline(metric.key, metric.label, cells)


def _note(metric: Metric, method: _Method, value: Summary) -> str:
    if value["mean"] is None:
        return ""
    notes = []
    length = method.of(LENGTH)["mean"]
    if metric.key in AS_TRAINED_CONSISTENCY and length is not None:
        notes.append(f"{length:.{0 if length >= 100 else 1}f} active dimensions")
    if metric.name == "monosemanticity" and method.reference is not None:
        notes.append(f"judged by {method.reference}")
    if value["n"] < method.seeds:
        notes.append(f"{value['n']} of {method.seeds} seeds")
    return ", ".join(notes)


def _bar(value: Summary, low: float, high: float) -> tuple[float, float, float] | None:
    mean = value["mean"]
    if mean is None:
        return None
    ends = (mean if value[name] is None else value[name] for name in ("low", "mean", "high"))
    return tuple(_percent((end - low) / (high - low)) for end in ends)


def _percent(share: float) -> float:
    return round(100 * min(max(share, 0.0), 1.0), 2)
