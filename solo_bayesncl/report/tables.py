"""Evaluations and comparisons as tables: on the terminal, in CSV, Markdown and LaTeX."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.table import Table
from tabulate import tabulate

from solo_bayesncl import files
from solo_bayesncl.report.catalogue import METRICS
from solo_bayesncl.report.formats import (
    MISSING,
    formatted,
    formatted_difference,
    formatted_interval,
    formatted_over_seeds,
)


def evaluation_table(results: dict[str, dict[str, Any]]) -> Table:
    """The headline numbers with a column per model.

    Args:
        results: heading of the column -> evaluation.
    """
    samples = {str(result["samples"]) for result in results.values()}
    rows = [
        (metric.label, *(formatted(metric.of(result), metric.unit) for result in results.values()))
        for metric in METRICS
        if metric.headline and any(metric.of(result) is not None for result in results.values())
    ]
    return _terminal(f"{', '.join(sorted(samples))} validation images", list(results), rows)


def comparison_table(comparison: dict[str, Any]) -> Table:
    """The headline numbers with a column per method: mean and confidence interval."""
    seeds = len(comparison["seeds"])
    title = f"mean ± standard deviation [{100 * comparison['confidence']:.0f} % interval] over "
    title += f"{seeds} seed{'s' if seeds > 1 else ''}"
    return _terminal(title, comparison["methods"], _rows(comparison, headline_only=True))


def _terminal(title: str, headings: list[str], rows: Iterable[tuple[str, ...]]) -> Table:
    table = Table(title=title)
    table.add_column("")
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def _rows(comparison: dict[str, Any], headline_only: bool) -> list[tuple[str, ...]]:
    return [
        (
            metric["label"],
            *(
                formatted_over_seeds(
                    comparison["summary"][method][metric["key"]],
                    metric["unit"],
                    len(comparison["seeds"]),
                )
                for method in comparison["methods"]
            ),
        )
        for metric in comparison["metrics"]
        if metric["headline"] or not headline_only
    ]


def write_tables(folder: Path, comparison: dict[str, Any]) -> None:
    """Writes a comparison for people and programs.

    `comparison.csv` has a row per metric and method with the value of every seed,
    `differences.csv` one per metric and pair of methods; `comparison.md` and `comparison.tex`
    hold the headline table (LaTeX: packages booktabs and amsmath are enough) and, in Markdown, the
    differences and what they say.
    """
    units = {metric["key"]: metric for metric in comparison["metrics"]}
    files.write_csv(folder / "comparison.csv", _summary_rows(comparison))
    files.write_csv(
        folder / "differences.csv",
        [{**d, "unit": units[d["metric"]]["unit"]} for d in comparison["differences"]],
    )
    files.write_text(folder / "comparison.md", markdown(comparison))
    files.write_text(folder / "comparison.tex", latex(comparison))


def _summary_rows(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for metric in comparison["metrics"]:
        for method in comparison["methods"]:
            by_seed = zip(
                comparison["seeds"], comparison["values"][method][metric["key"]], strict=True
            )
            rows.append(
                {"metric": metric["key"], "label": metric["label"], "unit": metric["unit"],
                 "better": metric["better"], "method": method}
                | comparison["summary"][method][metric["key"]]
                | {f"seed {seed}": value for seed, value in by_seed}
            )  # fmt: skip
    return rows


def markdown(comparison: dict[str, Any]) -> str:
    """The headline table, the sentences and the differences of the headline metrics."""
    metrics = {metric["key"]: metric for metric in comparison["metrics"]}
    table = tabulate(
        _rows(comparison, headline_only=True), ["", *comparison["methods"]], tablefmt="github"
    )
    differences = tabulate(
        [
            _difference_row(d, metrics[d["metric"]])
            for d in comparison["differences"]
            if metrics[d["metric"]]["headline"]
        ],
        ["", "methods", "difference", f"{100 * comparison['confidence']:.0f} % interval", ""],
        tablefmt="github",
    )
    said = "\n".join(f"- {sentence}" for sentence in comparison["sentences"])
    return f"{_caption(comparison)}\n\n{table}\n\n{said}\n\n{differences}\n"


def latex(comparison: dict[str, Any]) -> str:
    """The headline table as a `tabular` of booktabs."""
    table = tabulate(
        _rows(comparison, headline_only=True),
        ["", *comparison["methods"]],
        tablefmt="latex_booktabs",
    )
    symbols = {"±": r"$\pm$", "−": r"$-$", "–": "--"}
    for symbol, command in symbols.items():
        table = table.replace(symbol, command)
    return f"% {_caption(comparison)}\n{table}\n"


def _caption(comparison: dict[str, Any]) -> str:
    seeds = ", ".join(map(str, comparison["seeds"]))
    return (
        f"Mean ± standard deviation [{100 * comparison['confidence']:.0f} % confidence interval "
        f"of the mean, Student's t] over seeds {seeds}."
    )


def _difference_row(difference: dict[str, Any], metric: dict[str, Any]) -> tuple[str, ...]:
    mean, low, high = difference["mean"], difference["low"], difference["high"]
    return (
        metric["label"],
        f"{difference['method']} against {difference['against']}",
        formatted_difference(mean, metric["unit"]),
        MISSING if low is None else formatted_interval(low, high, metric["unit"]),
        {True: "significant", False: "no significant difference", None: "not judged"}[
            difference["significant"]
        ],
    )
