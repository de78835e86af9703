"""Tables of the page."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
from scipy import stats

from solo_bayesncl.report.catalogue import (
    AT_EQUAL_KNN,
    FIGURE,
    METRICS,
    SPACES,
    Metric,
    information_on,
)
from solo_bayesncl.report.formats import MISSING, formatted, listed
from solo_bayesncl.report.printed import COLUMNS, printed_caption, printed_rows
from solo_bayesncl.report.run import Comparison, RunReport, Runs, by_label, factors_of
from solo_bayesncl.report.tables import (
    caption,
    difference_columns,
    difference_rows,
    length_rows,
    summary_rows,
)

ARROWS = {"higher": " ↑", "lower": " ↓", None: ""}


@dataclass(frozen=True)
class Row:
    """Cells as text, and the key of the metric that they are about."""

    cells: list[str]
    key: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        caption: its title.
        columns: headings; the first column names the rows.
        rows: the rows that are shown.
        more: rows that are folded away, under `more_caption`.
    """

    caption: str
    columns: list[str]
    rows: list[Row]
    more: list[Row] = field(default_factory=list)
    more_caption: str = ""

    @property
    def keys(self) -> list[str]:
        """Of the metrics that its rows are about."""
        return [row.key for row in (*self.rows, *self.more) if row.key]


def _folded(caption: str, columns: list[str], rows: list[tuple[bool, Row]]) -> Table:
    """A table that shows its prominent rows, if there are any, and folds the others away."""
    prominent = [row for shown, row in rows if shown]
    others = [row for shown, row in rows if not shown]
    if not prominent:
        return Table(caption, columns, others)
    return Table(caption, columns, prominent, others, f"{len(others)} more rows")


def tables(runs: Runs, comparison: Comparison | None) -> dict[str, list[Table]]:
    """The tables of numbers by their place on the page; places without any are left out."""
    if comparison is None:
        found = {"numbers": run_tables(runs)}
    else:
        found = {
            "numbers": [summary_table(comparison)],
            "printed": [printed_table(comparison)],
            "differences": [differences_table(comparison)],
        }
    found["gate"] = [gate_table(runs)]
    present = {place: [table for table in of if table] for place, of in found.items()}
    return {place: of for place, of in present.items() if of}


def summary_table(comparison: Comparison) -> Table:
    """Means and intervals of every method."""
    rows = [
        (metric["headline"], Row([label + ARROWS[metric["better"]], *cells], metric["key"]))
        for metric, (label, *cells) in summary_rows(comparison)
    ]
    return _folded(caption(comparison), ["metric", *comparison["methods"]], rows)


def printed_table(comparison: Comparison) -> Table | None:
    """Printed results beside those of the comparison; None where nothing is printed."""
    rows = [
        Row(cells, row["metric"])
        for row, cells in zip(
            (comparison.get("printed") or {}).get("rows", []), printed_rows(comparison), strict=True
        )
    ]
    return Table(printed_caption(comparison), [*COLUMNS], rows) if rows else None


def differences_table(comparison: Comparison) -> Table | None:
    """Significant differences of the metrics in figures; the others are folded away and counted.

    None where only one method is compared. `differences.csv` has those of all metrics.
    """
    significant, unclear, unjudged = _by_verdict(comparison)
    if not (significant or unclear or unjudged):
        return None
    columns = ["metric", *difference_columns(comparison), "verdict"]
    units = "seed by seed (shares and accuracies in percentage points)"
    if not (significant or unclear):
        return Table(f"Differences, {units}", columns, unjudged)
    title = f"Significant differences, {units}"
    further = "further comparisons" if significant else "comparisons"
    parts = [
        f"{len(rows)} {further} {words}"
        for rows, words in (
            (unclear, "that show no significant difference"),
            (unjudged, "that are not judged"),
        )
        if rows
    ]
    return Table(title, columns, significant, [*unclear, *unjudged], ", ".join(parts))


def _by_verdict(comparison: Comparison) -> tuple[list[Row], list[Row], list[Row]]:
    """Differences of plotted metrics that are significant, are not, and are not judged."""
    plotted = {m.key for m in (*METRICS, *AT_EQUAL_KNN) if m.shown >= FIGURE}
    rows: dict[bool | None, list[Row]] = {True: [], False: [], None: []}
    for difference, (metric, cells) in zip(
        comparison["differences"], difference_rows(comparison), strict=True
    ):
        if metric["key"] in plotted and difference["mean"] is not None:
            rows[difference["significant"]].append(Row(cells, metric["key"]))
    return rows[True], rows[False], rows[None]


def verdicts(comparison: Comparison) -> str:
    """How many of these differences are significant; empty where there are none."""
    counts = map(len, _by_verdict(comparison))
    words = ("significant", "without a significant difference", "not judged")
    return ", ".join(f"{count} {word}" for count, word in zip(counts, words, strict=True) if count)


def run_tables(runs: Runs) -> list[Table]:
    """Without a comparison: every run's metrics by space and by code length, and its accuracies."""
    # a metric's label of codes, which come first, is the one without the space's name
    known = {metric.name: metric for metric in reversed(METRICS)}
    tables = []
    for run in runs:
        of = f" of {run.heading}" if len(runs) > 1 else ""
        spaces = [space for space in SPACES if run.evaluation.get(space)]
        names = dict.fromkeys(name for space in reversed(spaces) for name in run.evaluation[space])
        rows = []
        for name in names:
            metric = known.get(name) or Metric(name, name.replace("_", " "), "number")
            cells = (run.evaluation[space].get(name) for space in spaces)
            row = [metric.label, *(formatted(cell, metric.unit) for cell in cells)]
            rows.append((metric.headline, Row(row, f"codes.{name}")))
        tables.append(_folded(f"Metrics by space{of}", ["metric", *spaces], rows))
        lengths, rows = length_rows(run.evaluation)
        if lengths:
            rows = [(m.headline, Row(cells, f"codes.{m.name}")) for m, cells in rows]
            title = f"Codes cut to a length, in active dimensions per sample{of}"
            tables.append(_folded(title, ["metric", *lengths], rows))
        accuracies = [
            Row([metric.label, formatted(metric.of(run.evaluation), metric.unit)], metric.key)
            for metric in METRICS
            if metric.place == ("accuracy",) and metric.of(run.evaluation) is not None
        ]
        if accuracies:
            tables.append(Table(f"Accuracy{of}", ["classifier", "accuracy"], accuracies))
    return tables


def gate_table(runs: Runs) -> Table | None:
    """What the gates of each method do, means over seeds; None without a gate."""
    groups = by_label(run for run in runs if run.evaluation.get("gate"))
    if not groups:
        return None

    def row(label: str, unit: str, value: Callable[[RunReport], float | None], key="") -> Row:
        means = (formatted(_mean(map(value, group)), unit) for group in groups.values())
        return Row([label, *means], key)

    rows = [
        row(
            metric.label,
            metric.unit,
            lambda run, metric=metric: metric.of(run.evaluation),
            metric.key,
        )
        for metric in METRICS
        if metric.about_gates
    ]
    correlations = {
        "correlation of a dimension's density before the gate with its open rate": (
            itemgetter("projection_density"),
            stats.pearsonr,
        ),
    }
    for factor in factors_of(chain.from_iterable(groups.values())):
        label = f"rank correlation of a dimension's information on {factor} with its open rate"
        correlations[label] = information_on(factor).of, stats.spearmanr
    for label, (number, statistic) in correlations.items():
        correlation = partial(_correlation_with_open_rate, number=number, statistic=statistic)
        rows.append(row(label, "number", correlation))
    return Table("Gates, means over seeds", ["", *groups], rows)


def _correlation_with_open_rate(
    run: RunReport, number: Callable[[dict[str, Any]], float | None], statistic: Callable
) -> float | None:
    """`statistic` of scipy.stats over dimensions, of `number(row)` and the gate's open rate.

    None for fewer than three dimensions, or if either is constant.
    """
    pairs = [(number(row), row["open_rate"]) for row in run.gated_rows if number(row) is not None]
    columns = np.array(pairs).T
    if len(pairs) < 3 or not columns.std(axis=1).all():
        return None
    return float(statistic(*columns)[0])


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None and np.isfinite(value)]
    return sum(known) / len(known) if known else None


def settings_table(runs: Runs) -> Table:
    """Settings and versions, a column per method; what differs comes first, the rest is folded."""
    columns: dict[str, dict[str, str]] = {}
    for label, group in by_label(runs).items():
        cells: dict[str, list[Any]] = {}
        for run in group:
            record = {**run.settings, "versions": run.evaluation.get("versions") or {}}
            for key, value in _flat(record):
                cells.setdefault(key, []).append(value)
        columns[label] = {key: listed(values) for key, values in cells.items()}
    keys = dict.fromkeys(key for cells in columns.values() for key in cells)
    rows = [[key, *(cells.get(key, MISSING) for cells in columns.values())] for key in keys]
    rows = [(len(set(row[1:])) > 1, Row(row)) for row in rows]
    differ = any(differs for differs, _ in rows)
    title = "Settings that differ between methods" if differ else "All settings"
    return _folded(title, ["setting", *columns], rows)


def _flat(record: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in record.items():
        if isinstance(value, list):
            value = {str(number): item for number, item in enumerate(value)}
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "null" if value is None else value
