"""Evaluations and comparisons as tables: for the terminal, in CSV, Markdown and LaTeX."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from tabulate import tabulate

from solo_bayesncl import files
from solo_bayesncl.report.catalogue import reported_in
from solo_bayesncl.report.formats import (
    formatted,
    formatted_difference,
    formatted_interval,
    formatted_summary,
    listed,
    percent,
)
from solo_bayesncl.report.printed import COLUMNS, printed_caption, printed_cells, printed_rows
from solo_bayesncl.report.run import Comparison
from solo_bayesncl.text import printable

VERDICTS = {True: "significant", False: "no significant difference", None: "not judged"}

# the files of `write_tables`
TABLES = ("comparison.csv", "differences.csv", "comparison.md", "comparison.tex")

# a metric of `comparison.json` and the cells of its row
Rows = list[tuple[dict[str, Any], list[str]]]


def caption(comparison: Comparison) -> str:
    """Title of the table of `summary_rows`."""
    seeds, level = comparison["seeds"], percent(comparison["confidence"])
    if len(seeds) == 1:
        return f"Seed {seeds[0]} alone: no intervals"
    return (
        f"Mean ± standard deviation [{level} confidence interval of the mean, Student's t] "
        f"over seeds {listed(seeds)}"
    )


def summary_rows(comparison: Comparison) -> Rows:
    """A row per metric: its label and a cell for each method."""
    seeds = len(comparison["seeds"])
    summaries = [comparison["summary"][method] for method in comparison["methods"]]
    rows = []
    for metric in comparison["metrics"]:
        key, unit = metric["key"], metric["unit"]
        cells = [formatted_summary(summary[key], unit, seeds) for summary in summaries]
        rows.append((metric, [metric["label"], *cells]))
    return rows


def difference_columns(comparison: Comparison) -> list[str]:
    """Headings of `difference_rows`, but for the metric and the verdict."""
    return ["methods", "difference", f"{percent(comparison['confidence'])} interval"]


def difference_rows(comparison: Comparison) -> Rows:
    """A row per metric and pair of methods, which are paired seed by seed."""
    metrics = {metric["key"]: metric for metric in comparison["metrics"]}
    rows = []
    for difference in comparison["differences"]:
        metric = metrics[difference["metric"]]
        cells = [
            metric["label"],
            f"{difference['method']} against {difference['against']}",
            formatted_difference(difference["mean"], metric["unit"]),
            formatted_interval(difference["low"], difference["high"], metric["unit"]),
            VERDICTS[difference["significant"]],
        ]
        rows.append((metric, cells))
    return rows


def _headline(rows: Rows) -> list[list[str]]:
    return [cells for metric, cells in rows if metric["headline"]]


def evaluation_table(results: dict[str, dict[str, Any]]) -> Table:
    """The headline numbers with a column per model, for the terminal.

    Args:
        results: heading of the column -> evaluation.
    """
    rows = (
        [metric.label, *(formatted(metric.of(result), metric.unit) for result in results.values())]
        for metric in reported_in(results.values())
        if metric.headline
    )
    samples = listed(sorted(result["samples"] for result in results.values()))
    return _terminal(f"{samples} validation images", results, rows)


def comparison_table(comparison: Comparison) -> Table:
    """The headline numbers with a column per method, for the terminal."""
    rows = _headline(summary_rows(comparison))
    return _terminal(caption(comparison), comparison["methods"], rows)


def printed_table(comparison: Comparison) -> Table | None:
    """Printed results beside ours, for the terminal; None where nothing is printed."""
    if not comparison.get("printed"):
        return None
    return _terminal(printed_caption(comparison), COLUMNS[1:], printed_rows(comparison))


def _terminal(title: str, headings: Iterable[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table("", title=title)
    for heading in headings:
        table.add_column(printable(heading), justify="right")
    for row in rows:
        table.add_row(*map(printable, row))
    return table


def write_tables(folder: Path, comparison: Comparison) -> None:
    """Writes a comparison as CSV, Markdown and LaTeX.

    `comparison.csv` has a row per metric and method with the value of every seed,
    `differences.csv` one per metric and pair of methods; `comparison.md` and `comparison.tex`
    hold the headline table and that of printed results (LaTeX needs booktabs and amsmath), and
    `comparison.md` the differences and the sentences on them.
    """
    units = {metric["key"]: metric["unit"] for metric in comparison["metrics"]}
    differences = [{**d, "unit": units[d["metric"]]} for d in comparison["differences"]]
    summary_csv, differences_csv, in_markdown, in_latex = (folder / name for name in TABLES)
    files.write_csv(summary_csv, _csv_rows(comparison))
    files.write_csv(differences_csv, differences)
    files.write_text(in_markdown, markdown(comparison))
    files.write_text(in_latex, latex(comparison))


def _csv_rows(comparison: Comparison) -> list[dict[str, Any]]:
    rows, printed = [], printed_cells(comparison)
    for metric in comparison["metrics"]:
        key = metric["key"]
        named = {"metric": key} | {name: metric[name] for name in ("label", "unit", "better")}
        for method in comparison["methods"]:
            values = zip(comparison["seeds"], comparison["values"][method][key], strict=True)
            by_seed = {f"seed {seed}": value for seed, value in values}
            summary = comparison["summary"][method][key]
            beside = printed.get((key, method), {})
            rows.append({**named, "method": method, **summary, **beside, **by_seed})
    return rows


def markdown(comparison: Comparison) -> str:
    """The headline table, the sentences and the differences of the headline metrics."""
    columns = ["", *difference_columns(comparison), ""]
    rows = [
        [as_markdown(label), as_markdown(methods), *cells]
        for label, methods, *cells in _headline(difference_rows(comparison))
    ]
    differences = tabulate(rows, columns, tablefmt="github")
    sentences = "\n".join(f"- {as_markdown(sentence)}" for sentence in comparison["sentences"])
    table = _tabulated(comparison, "github", as_markdown)
    parts = [f"{caption(comparison)}.", table]
    if comparison.get("printed"):
        title = as_markdown(printed_caption(comparison))
        parts += [f"{title}.", _printed(comparison, "github", as_markdown)]
    return "\n\n".join([*parts, sentences, differences]) + "\n"


def latex(comparison: Comparison) -> str:
    """The headline table as a `tabular` of booktabs."""
    table = _tabulated(comparison, "latex_booktabs", printable)
    if comparison.get("printed"):
        title = printable(printed_caption(comparison))
        table += f"\n\n% {title}.\n{_printed(comparison, 'latex_booktabs', printable)}"
    for symbol, command in {"±": r"$\pm$", "−": r"$-$", "–": "--"}.items():
        table = table.replace(symbol, command)
    return f"% {caption(comparison)}.\n{table}\n"


def _tabulated(comparison: Comparison, tablefmt: str, as_text: Callable[[str], str]) -> str:
    """The headline table, with names as `as_text` returns them."""
    rows = [[as_text(label), *cells] for label, *cells in _headline(summary_rows(comparison))]
    headings = ["", *map(as_text, comparison["methods"])]
    return tabulate(rows, headings, tablefmt=tablefmt)


def _printed(comparison: Comparison, tablefmt: str, as_text: Callable[[str], str]) -> str:
    """The table of printed results beside ours."""
    rows = [[*map(as_text, row[:2]), *row[2:]] for row in printed_rows(comparison)]
    return tabulate(rows, COLUMNS, tablefmt=tablefmt)


def as_markdown(text: str) -> str:
    """Text of which Markdown takes nothing for markup; `_` within a word is none."""
    return re.sub(r"([\\`*<>|\[\]#~&]|(?<!\w)_|_(?!\w))", r"\\\1", printable(text))
