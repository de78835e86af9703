"""Evaluations and comparisons as tables: for the terminal, in CSV, Markdown and LaTeX."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from tabulate import tabulate

from solo_bayesncl import files
from solo_bayesncl.report.catalogue import OF_EACH_LENGTH, Metric, reported_in
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

# what a terminal has for the names of metrics, which are wrapped
LABEL_WIDTH = 30

# a metric of `comparison.json` and the cells of its row
Rows = list[tuple[dict[str, Any], list[str]]]


def caption(comparison: Comparison, intervals: bool = True) -> str:
    """Title of the table of `summary_rows`."""
    seeds, level = comparison["seeds"], percent(comparison["confidence"])
    if len(seeds) == 1:
        return f"Seed {seeds[0]} alone: no intervals"
    interval = f" [{level} confidence interval of the mean, Student's t]" if intervals else ""
    return f"Mean ± standard deviation{interval} over seeds {listed(seeds)}"


def summary_rows(comparison: Comparison, intervals: bool = True) -> Rows:
    """A row per metric: its label and a cell for each method."""
    seeds = len(comparison["seeds"])
    summaries = [comparison["summary"][method] for method in comparison["methods"]]
    rows = []
    for metric in comparison["metrics"]:
        key, unit = metric["key"], metric["unit"]
        cells = [formatted_summary(summary[key], unit, seeds, intervals) for summary in summaries]
        rows.append((metric, [metric["label"], *cells]))
    return rows


def difference_columns(comparison: Comparison) -> list[str]:
    """Headings of `difference_rows`, but for the metric and the verdict."""
    return ["methods", "difference", f"{percent(comparison['confidence'])} interval"]


def difference_rows(comparison: Comparison) -> Rows:
    """A row per metric and pair of methods, which are paired seed by seed."""
    metrics = {metric["key"]: metric for metric in comparison["metrics"]}
    seeds = len(comparison["seeds"])
    rows = []
    for difference in comparison["differences"]:
        metric, n = metrics[difference["metric"]], difference["n"]
        of_all = "" if n in (0, seeds) else f" ({n} of {seeds} seeds)"
        cells = [
            metric["label"],
            f"{difference['method']} against {difference['against']}",
            formatted_difference(difference["mean"], metric["unit"]),
            formatted_interval(difference["low"], difference["high"], metric["unit"]),
            VERDICTS[difference["significant"]] + of_all,
        ]
        rows.append((metric, cells))
    return rows


def _headline(rows: Rows) -> list[list[str]]:
    return [cells for metric, cells in rows if metric["headline"]]


def evaluation_table(results: dict[str, dict[str, Any]]) -> Table:
    """The headline numbers as trained with a column per model, for the terminal.

    Args:
        results: heading of the column -> evaluation.
    """
    rows = (
        [metric.label, *(formatted(metric.of(result), metric.unit) for result in results.values())]
        for metric in reported_in(results.values())
        if metric.headline and metric.place[0] != "code_lengths"
    )
    samples = listed(sorted(result["samples"] for result in results.values()))
    return _terminal(f"{samples} validation images", results, rows)


def length_table(result: dict[str, Any]) -> Table:
    """The headline numbers of an evaluation with a column per code length, for the terminal."""
    columns, rows = length_rows(result)
    cells = [cells for metric, cells in rows if metric.headline]
    # eight columns have to fit into 80 characters
    look = {"box": box.SIMPLE, "padding": (0, 1, 0, 0)}
    return _terminal("Codes cut to a length, in active dimensions per sample", columns, cells, look)


def length_rows(result: dict[str, Any]) -> tuple[list[str], list[tuple[Metric, list[str]]]]:
    """Headings, and the rows of metrics that are known at any length, with a cell for each."""
    lengths = result.get("code_lengths") or {}
    rows = []
    for metric in OF_EACH_LENGTH:
        values = [numbers.get(metric.name) for numbers in lengths.values()]
        if any(value is not None for value in values):
            cells = (formatted(value, metric.unit) for value in values)
            rows.append((metric, [metric.label, *cells]))
    return [length.replace("_", " ") for length in lengths], rows


def comparison_table(comparison: Comparison) -> RenderableType:
    """The headline numbers with a column per method, for the terminal.

    Where the terminal is too narrow, intervals are left out, then methods go into several tables.
    """
    return _Fitted(comparison)


class _Fitted:
    def __init__(self, comparison: Comparison):
        self.comparison = comparison

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        for intervals in (True, False):
            rows = _headline(summary_rows(self.comparison, intervals))
            columns = list(zip(["", *self.comparison["methods"]], *rows, strict=True))
            labels, *methods = [list(map(printable, column)) for column in columns]
            labels = list(_without_repetition(labels))
            tables = list(_side_by_side(methods, options.max_width - LABEL_WIDTH))
            if len(tables) == 1:
                break
        title = caption(self.comparison, intervals)
        for methods in tables:
            (_, *headings), *rows = zip(labels, *methods, strict=True)
            yield _terminal(title, headings, rows)


def _without_repetition(labels: Iterable[str]) -> Iterator[str]:
    """A label that only adds words to the one before becomes these words, indented."""
    whole = ""
    for label in labels:
        added = label.removeprefix(f"{whole} ")
        if whole and added != label:
            yield f"  {added}"
        else:
            whole = label
            yield label


def _side_by_side(columns: Iterable[list[str]], width: int) -> Iterator[list[list[str]]]:
    """The columns in groups that fit into the width, at least one in each."""
    group, left = [], width
    for column in columns:
        needed = 3 + max(map(cell_len, column))  # a rule and two spaces
        if group and needed > left:
            yield group
            group, left = [], width
        group.append(column)
        left -= needed
    yield group


def printed_table(comparison: Comparison) -> Table | None:
    """Printed results beside ours, for the terminal; None where nothing is printed."""
    if not comparison.get("printed"):
        return None
    return _terminal(printed_caption(comparison), COLUMNS[1:], printed_rows(comparison))


def _terminal(
    title: str,
    headings: Iterable[str],
    rows: Iterable[Sequence[str]],
    look: dict[str, Any] | None = None,
) -> Table:
    table = Table("", title=title, **(look or {}))
    for heading in headings:
        table.add_column(printable(heading), justify="right", no_wrap=True)
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
