"""Puts the results of the comparisons `findings_*` into docs/findings.md: its tables and figures.

    python benchmarks/findings.py [FOLDER]

FOLDER, by default comparisons, holds their folders findings-characters, findings-digits, ... A
table replaces what is between `<!-- NAME -->` and `<!-- end of NAME -->`, a figure is copied to
docs/findings/. What belongs to a comparison that is not there stays as it is.
"""

import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr
from tabulate import tabulate

from solo_bayesncl import files
from solo_bayesncl.comparison.statistics import interval
from solo_bayesncl.report.formats import MINUS, MISSING, PERCENT, formatted_summary
from solo_bayesncl.report.run import RunReport
from solo_bayesncl.report.tables import as_markdown

PAGE = Path(__file__).resolve().parent.parent / "docs/findings.md"
SETS = ("characters", "digits", "emoji")
EMPTY_ROWS = "empty-rows"
# a set's tables
KINDS = ("as trained", "at equal length", "differences")
REFERENCE = "ncl"
# figures of a comparison that the page shows
FIGURES = {
    "characters": ("lengths", "gate"),
    "digits": ("lengths",),
    "emoji": ("lengths",),
    EMPTY_ROWS: ("curves",),
}

# heading of a column -> metric of comparison.json
AS_TRAINED = {
    "consistency": "codes.semantic_consistency",
    "labels shuffled": "codes.shuffled_label_null",
    "chance-adjusted": "codes.adjusted_consistency",
    "weighted": "codes.weighted_consistency",
    "active per sample": "codes.code_length",
    "live": "codes.active_dims",
    "kNN, codes": "code_lengths.as_trained.knn",
    "kNN, backbone": "accuracy.knn_backbone",
}
AT_EQUAL_LENGTH = {
    "chance-adjusted at 3": "code_lengths.3.adjusted_consistency",
    "weighted at 3": "code_lengths.3.weighted_consistency",
    "live at 3": "code_lengths.3.active_dims",
    "kNN at 3": "code_lengths.3.knn",
    "probe at 3": "code_lengths.3.probe",
    "chance-adjusted at equal kNN": "equal_knn.adjusted_consistency",
    "weighted at equal kNN": "equal_knn.weighted_consistency",
}
DIFFERENCES = {
    "consistency, as trained": "codes.semantic_consistency",
    "chance-adjusted, as trained": "codes.adjusted_consistency",
    "at 3": "code_lengths.3.adjusted_consistency",
    "at equal kNN": "equal_knn.adjusted_consistency",
    "weighted, as trained": "codes.weighted_consistency",
    "weighted at 3": "code_lengths.3.weighted_consistency",
    "kNN, as trained": "code_lengths.as_trained.knn",
    "kNN at 3": "code_lengths.3.knn",
}
GATE = {
    "open gates": "gate.open_rate",
    "active per sample before": "projections.code_length",
    "and behind": "codes.code_length",
    "live before": "projections.active_dims",
    "and behind it": "codes.active_dims",
}

Comparison = dict[str, Any]  # content of comparison.json


def summary_table(comparison: Comparison, columns: dict[str, str]) -> str:
    """A row per method: mean ± standard deviation over seeds."""
    rows = [
        [as_markdown(method), *_summaries(comparison, method, columns)]
        for method in comparison["methods"]
    ]
    return _table(["", *columns], rows)


def difference_table(comparison: Comparison) -> str:
    """A row per method: mean and interval of its difference to NCL, bold if significant."""
    found = {
        (d["method"], d["metric"]): d
        for d in comparison["differences"]
        if d["against"] == REFERENCE
    }
    units = {metric["key"]: metric["unit"] for metric in comparison["metrics"]}
    rows = [
        [
            as_markdown(method),
            *(
                _difference(found.get((method, key)), units.get(key))
                for key in DIFFERENCES.values()
            ),
        ]
        for method in comparison["methods"]
        if any(method == one for one, _ in found)
    ]
    return _table([f"minus {REFERENCE}", *DIFFERENCES], rows)


def gate_table(folder: Path, comparisons: dict[str, Comparison]) -> str:
    """A row per data set: what BayesNCL's gate does."""
    rows = []
    for name, comparison in comparisons.items():
        runs = runs_of(folder, name, comparison, "bayesncl")
        correlation = interval([_rank_correlation(run) for run in runs])
        summaries = _summaries(comparison, "bayesncl", GATE)
        rows.append([name, *summaries, _without_interval(correlation, "number", correlation["n"])])
    return _table(["", *GATE, "rank correlation of frequency and open rate"], rows)


def empty_rows_table(folder: Path, comparison: Comparison) -> str:
    """A row per method: InfoNCE at the end of training at every seed, and the summary."""
    rows = []
    for method in comparison["methods"]:
        runs = runs_of(folder, EMPTY_ROWS, comparison, method)
        losses = ", ".join(f"{run.curve('train_nce_loss')[-1][1]:.2f}" for run in runs)
        rows.append([as_markdown(method), losses, *_summaries(comparison, method, AS_TRAINED)])
    return _table(["", "InfoNCE at the end, by seed", *AS_TRAINED], rows)


def runs_of(folder: Path, name: str, comparison: Comparison, method: str) -> Iterator[RunReport]:
    """The runs of a method, in the order of their seeds."""
    for run in comparison["runs"][method]:
        record = folder / f"findings-{name}" / run
        places = (record, *record.parents)
        evaluated = next(place for place in places if (place / "evaluation.json").is_file())
        yield RunReport.read(evaluated, label=method, record=record)


def _rank_correlation(run: RunReport) -> float:
    """Of how often a dimension is active before the gate, and how often the gate is open."""
    rows = run.gated_rows
    frequency, open_rate = (
        [row[key] for row in rows] for key in ("projection_density", "open_rate")
    )
    return float(spearmanr(frequency, open_rate).statistic)


def _summaries(comparison: Comparison, method: str, columns: dict[str, str]) -> list[str]:
    units = {metric["key"]: metric["unit"] for metric in comparison["metrics"]}
    summary = comparison["summary"][method]
    seeds = len(comparison["seeds"])
    return [
        _without_interval(summary[key], units[key], seeds) if key in units else MISSING
        for key in columns.values()
    ]


def _without_interval(summary: dict[str, Any], unit: str, seeds: int) -> str:
    return re.sub(r" \[.*\]", "", formatted_summary(summary, unit, seeds))


def _difference(difference: dict[str, Any] | None, unit: str | None) -> str:
    """Mean [low, high], of shares in points of a percent."""
    if difference is None or difference["low"] is None:
        return MISSING
    scale = PERCENT.get(unit, 1)
    mean, low, high = (f"{scale * difference[name]:+.1f}" for name in ("mean", "low", "high"))
    text = f"{mean} [{low}, {high}]".replace("-", MINUS)
    return f"**{text}**" if difference["significant"] else text


def _table(headings: Iterable[str], rows: list[list[str]]) -> str:
    return tabulate(rows, list(headings), tablefmt="github", disable_numparse=True)


def tables(folder: Path, comparisons: dict[str, Comparison]) -> dict[str, str]:
    """Name in the page -> table, of the comparisons that are there."""
    of_sets = {name: comparisons[name] for name in SETS if name in comparisons}
    found = {}
    for name, comparison in of_sets.items():
        of_set = (
            summary_table(comparison, AS_TRAINED),
            summary_table(comparison, AT_EQUAL_LENGTH),
            difference_table(comparison),
        )
        found |= {f"{name} {kind}": table for kind, table in zip(KINDS, of_set, strict=True)}
    if of_sets:
        found["gate"] = gate_table(folder, of_sets)
    if EMPTY_ROWS in comparisons:
        found[EMPTY_ROWS] = empty_rows_table(folder, comparisons[EMPTY_ROWS])
    return found


def put_tables(page: Path, tables: dict[str, str]) -> None:
    """Puts each table between its marks."""
    text = page.read_text(encoding="utf-8")
    for name, content in tables.items():
        between = rf"(?s)(?<=<!-- {name} -->\n).*(?=<!-- end of {name} -->)"
        text = re.sub(between, lambda _, content=content: f"{content}\n", text)
    page.write_text(text, encoding="utf-8")


def update(page: Path, folder: Path) -> None:
    """Puts tables into a page and figures into the folder of its name."""
    records = {name: folder / f"findings-{name}/comparison.json" for name in FIGURES}
    comparisons = {name: files.read_json(path) for name, path in records.items() if path.is_file()}
    put_tables(page, tables(folder, comparisons))
    for name in comparisons:
        for figure in FIGURES[name]:
            source = records[name].parent / f"figures/{figure}.svg"
            target = page.with_suffix("") / f"{name}-{figure}.svg"
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(source, target)


if __name__ == "__main__":
    update(PAGE, Path(sys.argv[1] if len(sys.argv) > 1 else "comparisons"))
