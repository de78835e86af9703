"""The page of a report: one HTML file that needs no network, no server and no other file."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from scipy import stats

from solo_bayesncl import files
from solo_bayesncl.errors import InputError
from solo_bayesncl.report import figures
from solo_bayesncl.report.catalogue import METRICS, SPACES
from solo_bayesncl.report.formats import (
    MINUS,
    MISSING,
    formatted,
    formatted_difference,
    formatted_interval,
    formatted_over_seeds,
)
from solo_bayesncl.report.run import RunReport

HERE = Path(__file__).parent

GATE_METRICS = (
    "gate.mean_open_probability",
    "gate.open_rate",
    "codes.code_length",
    "codes.dead_dims",
)


class Field(NamedTuple):
    """A number of a dimension: its key in `dimensions.json`, its name, unit and meaning."""

    key: str
    label: str
    unit: str
    words: str


FIELDS = (
    Field(
        "consistency",
        "consistency",
        "share",
        "share of the most frequent class among the images it is active on",
    ),
    Field(
        "adjusted_consistency",
        "adjusted consistency",
        "share",
        "do two images it is active on share their class? 0 % is chance, 100 % always",
    ),
    Field("density", "density", "share", "share of all images that it is active on"),
    Field("support", "support", "count", "number of images that it is active on"),
    Field("entropy", "entropy", "nats", "of its activation over the classes; 0 is one class alone"),
    Field(
        "monosemanticity",
        "monosemanticity",
        "number",
        "mean cosine, to another model, of the images it is active on",
    ),
    Field("open_rate", "gate open", "share", "share of all images on which its gate is open"),
    Field(
        "projection_density",
        "density before gate",
        "share",
        "share of all images on which its projection is active",
    ),
    Field("mean_activation", "mean activation", "number", "over the images that it is active on"),
)


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        caption: words above it.
        columns: headings; the first column names the rows.
        rows: cells as text.
        more: rows that are folded away.
    """

    caption: str
    columns: list[str]
    rows: list[list[str]]
    more: list[list[str]] = field(default_factory=list)


def write_page(
    path: Path,
    runs: Sequence[RunReport],
    comparison: dict[str, Any] | None = None,
    title: str = "Interpretability report",
) -> None:
    """Writes the page; the same input gives the same bytes.

    Args:
        path: the HTML file.
        runs: at least one; seeds of a method share their label.
        comparison: content of `comparison.json`, None without one.
        title: of the page.

    Raises:
        InputError: if there is no run.
    """
    if not runs:
        raise InputError("A report needs at least one evaluated run, none was given.")
    browsed = [group[0] for group in figures.by_label(runs).values() if group[0].dimensions]
    fields = [*FIELDS, *map(_field_of_factor, figures.factors_of(browsed))]
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("page.html.j2").render(
        title=title,
        css=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        js=Markup((HERE / "page.js").read_text(encoding="utf-8")),
        facts=_facts(runs, comparison),
        sentences=(comparison or {}).get("sentences", []),
        tables=_comparison_tables(comparison) if comparison else _run_tables(runs),
        legend={label: s.color for label, s in figures.styles(r.label for r in runs).items()},
        sections=_sections(runs, comparison),
        gate_table=_gate_table(runs),
        browsed=browsed,
        fields=fields,
        sprites=[_sprite(number, run) for number, run in enumerate(browsed)],
        data=_script_json(
            {
                "fields": [field_._asdict() for field_ in fields],
                "runs": [_browser_run(number, run, fields) for number, run in enumerate(browsed)],
            }
        ),
        settings=_settings_table(runs),
    )
    files.write_text(path, html)


def _field_of_factor(factor: str) -> Field:
    return Field(
        f"information on {factor}",
        f"information on {factor}",
        "nats",
        "mutual information of its activation, before the gate if there is one, with this factor "
        "of the images; about 0 is none",
    )


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _facts(runs: Sequence[RunReport], comparison: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What was compared, in (word, value) pairs."""
    labels = list(figures.by_label(runs))
    evaluations = [run.evaluation for run in runs]
    facts = [("Methods" if len(labels) > 1 else "Method", _listed(labels))]
    seeds = [run.seed for run in runs if run.seed is not None]
    facts.append(("Seeds" if len(set(seeds)) > 1 else "Seed", _listed(seeds)))
    facts.append(("Validation images", _listed(e.get("samples") for e in evaluations)))
    facts.append(("Data", _listed(e.get("data") for e in evaluations)))
    steps = [e.get("optimizer_steps") for e in evaluations]
    facts.append(("Optimizer steps", _listed(step for step in steps if step is not None)))
    broken = [
        f"{_heading(r)}: {', '.join(s)}" for r in runs if (s := r.evaluation.get("not_finite"))
    ]
    if broken:
        facts.append(("Diverged, with values that are not finite", "; ".join(broken)))
    if comparison:
        facts.append(("Intervals", f"{100 * comparison['confidence']:g} % confidence over seeds"))
    return facts


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values)) or MISSING


def _comparison_tables(comparison: dict[str, Any]) -> list[Table]:
    methods, seeds = comparison["methods"], len(comparison["seeds"])
    metrics = {metric["key"]: metric for metric in comparison["metrics"]}
    rows = [
        (
            bool(metric.get("headline")),
            [
                _with_direction(metric),
                *(_over_seeds(comparison["summary"][m].get(key), metric, seeds) for m in methods),
            ],
        )
        for key, metric in metrics.items()
    ]
    caption = "One seed"
    if seeds > 1:
        level = f"{100 * comparison['confidence']:g} %"
        caption = f"Mean ± standard deviation [{level} confidence interval] over {seeds} seeds"
    tables = [_folded(caption, ["metric", *methods], rows)]
    if comparison["differences"]:
        rows = [
            (difference["metric"] in figures.COMPARED, _difference_row(difference, metrics))
            for difference in comparison["differences"]
        ]
        columns = ["metric", f"A {MINUS} B", "mean difference", "interval", "verdict"]
        caption = "Paired differences, seed by seed (shares and accuracies in percentage points)"
        tables.append(_folded(caption, columns, rows))
    return tables


def _folded(caption: str, columns: list[str], rows: list[tuple[bool, list[str]]]) -> Table:
    """A table that shows its headline rows, if there are any, and folds the others away."""
    head = [row for headline, row in rows if headline]
    more = [row for headline, row in rows if not headline]
    return Table(caption, columns, head, more) if head else Table(caption, columns, more)


def _with_direction(metric: dict[str, Any]) -> str:
    arrow = {"higher": " ↑", "lower": " ↓"}.get(metric.get("better") or "", "")
    return metric["label"] + arrow


def _over_seeds(summary: dict[str, Any] | None, metric: dict[str, Any], seeds: int) -> str:
    return formatted_over_seeds(summary, metric["unit"], seeds) if summary else MISSING


def _difference_row(difference: dict[str, Any], metrics: dict[str, dict]) -> list[str]:
    metric = metrics[difference["metric"]]
    unit, low, high = metric["unit"], difference["low"], difference["high"]
    verdict = {True: "significant", False: "no significant difference"}
    return [
        metric["label"],
        f"{difference['method']} {MINUS} {difference['against']}",
        formatted_difference(difference["mean"], unit),
        MISSING if low is None else formatted_interval(low, high, unit),
        verdict.get(difference["significant"], "not judged: fewer than two seeds"),
    ]


def _run_tables(runs: Sequence[RunReport]) -> list[Table]:
    """Without a comparison: every run's metrics by space, and its accuracies."""
    known = {metric.path: metric for metric in METRICS}
    tables = []
    for run in runs:
        of = f" of {_heading(run)}" if len(runs) > 1 else ""
        spaces = [space for space in SPACES if run.evaluation.get(space)]
        names = dict.fromkeys(name for space in reversed(spaces) for name in run.evaluation[space])
        rows = []
        for name in names:
            # the label of codes is the one without the space's name
            metric = known.get(("codes", name)) or known.get(("gate", name))
            cells = (run.evaluation[space].get(name) for space in spaces)
            unit = metric.unit if metric else "number"
            label = metric.label if metric else name.replace("_", " ")
            row = [label, *(formatted(cell, unit) for cell in cells)]
            rows.append((bool(metric and metric.headline), row))
        tables.append(_folded(f"Metrics by space{of}", ["metric", *spaces], rows))
        accuracies = [
            [metric.label, formatted(metric.of(run.evaluation), metric.unit)]
            for metric in METRICS
            if metric.path[0] == "accuracy" and metric.of(run.evaluation) is not None
        ]
        if accuracies:
            tables.append(Table(f"Accuracy{of}", ["classifier", "accuracy"], accuracies))
    return tables


def _heading(run: RunReport) -> str:
    return run.label if run.seed is None else f"{run.label}, seed {run.seed}"


def _sections(
    runs: Sequence[RunReport], comparison: dict[str, Any] | None
) -> dict[str, dict[str, Any]]:
    """Figures that have data, by name."""
    found = {}
    for section in figures.SECTIONS:
        svgs = section.svgs(runs, comparison)
        if svgs:
            found[section.name] = {"section": section, "svgs": [Markup(svg) for svg in svgs]}
    return found


def _gate_table(runs: Sequence[RunReport]) -> Table | None:
    """What the gates of each method do, means over seeds."""
    groups = {
        label: [run for run in group if run.evaluation.get("gate")]
        for label, group in figures.by_label(runs).items()
    }
    groups = {label: group for label, group in groups.items() if group}
    if not groups:
        return None
    rows = []
    for metric in (metric for metric in METRICS if metric.key in GATE_METRICS):
        cells = [_mean(metric.of(run.evaluation) for run in group) for group in groups.values()]
        rows.append([metric.label, *(formatted(cell, metric.unit) for cell in cells)])
    correlations = {
        "correlation of a dimension's density before the gate with its open rate": (
            lambda row: row["projection_density"],
            stats.pearsonr,
        )
    }
    for factor in figures.factors_of([run for group in groups.values() for run in group]):
        words = f"rank correlation of its information on {factor} with its open rate"
        correlations[words] = (partial(figures.information_on, factor), stats.spearmanr)
    for words, (number, statistic) in correlations.items():
        cells = [
            _mean(_correlation_with_open_rate(run, number, statistic) for run in group)
            for group in groups.values()
        ]
        rows.append([words, *(formatted(cell, "number") for cell in cells)])
    return Table("Gates, means over seeds", ["", *groups], rows)


def _correlation_with_open_rate(
    run: RunReport, number: Callable[[dict[str, Any]], float | None], statistic: Callable
) -> float | None:
    """Over dimensions; negative where many of it go with a closed gate, None if either is constant.

    Args:
        run: with dimensions.
        number: of a dimension's row.
        statistic: of scipy.stats.
    """
    rows = figures.gated_dimensions(run)
    pairs = [(number(row), row["open_rate"]) for row in rows if number(row) is not None]
    columns = np.array(pairs).T
    if len(pairs) < 3 or not columns.std(axis=1).all():
        return None
    return float(statistic(*columns)[0])


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if _is_finite(value)]
    return sum(known) / len(known) if known else None


def _settings_table(runs: Sequence[RunReport]) -> Table:
    """Settings and versions, a column per method; what differs comes first, the rest is folded."""
    groups = figures.by_label(runs)
    columns: dict[str, dict[str, str]] = {}
    for label, group in groups.items():
        cells: dict[str, list[Any]] = {}
        for run in group:
            record = {**run.settings, "versions": run.evaluation.get("versions") or {}}
            for key, value in _flat(record):
                cells.setdefault(key, []).append(value)
        columns[label] = {key: _listed(values) for key, values in cells.items()}
    keys = dict.fromkeys(key for cells in columns.values() for key in cells)
    rows = [[key, *(cells.get(key, MISSING) for cells in columns.values())] for key in keys]
    differing = [row for row in rows if len(set(row[1:])) > 1]
    same = [row for row in rows if len(set(row[1:])) == 1]
    headings = ["setting", *columns]
    if not differing:
        return Table("All settings", headings, same)
    return Table("Settings that differ between methods", headings, differing, same)


def _flat(record: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            yield from _flat({str(n): item for n, item in enumerate(value)}, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "null" if value is None else value


def _sprite(number: int, run: RunReport) -> dict[str, Any]:
    """The style rule that holds a run's sheet of thumbnails."""
    sheet = run.dimensions.get("thumbnails") or {}
    return {
        "name": f"sprite-{number}",
        "uri": run.thumbnails and Markup(run.thumbnails),
        "columns": sheet.get("columns", 1),
    }


def _browser_run(number: int, run: RunReport, fields: Sequence[Field]) -> dict[str, Any]:
    """A run for the dimension browser; the counts of classes are sparse and sorted."""
    record = run.dimensions
    sheet = record.get("thumbnails") or {}
    return {
        "label": run.label,
        "seed": run.seed,
        "samples": record.get("samples"),
        "classes": record["classes"],
        "classSamples": record.get("class_samples"),
        "sprite": f"sprite-{number}" if run.thumbnails else None,
        "columns": sheet.get("columns", 1),
        "tiles": [[tile.get("label"), tile.get("path")] for tile in sheet.get("tiles", [])],
        "dimensions": [
            {
                "index": row["index"],
                "owner": row.get("owner"),
                "values": _values(row, fields),
                "counts": _sparse(row["class_counts"]),
                "top": [[tile, _short(value)] for tile, value in row.get("top") or []],
            }
            for row in record["dimensions"]
        ],
    }


def _values(row: dict[str, Any], fields: Sequence[Field]) -> list[float | None]:
    """The numbers of a dimension's row in the order of the fields."""
    information = row.get("information") or {}
    known = row | {_field_of_factor(factor).key: value for factor, value in information.items()}
    return [_short(known.get(field_.key)) for field_ in fields]


def _sparse(counts: list[int]) -> list[list[int]]:
    """[[class, count], ...] of the classes that occur, most frequent first."""
    present = [[label, count] for label, count in enumerate(counts) if count]
    return sorted(present, key=lambda pair: -pair[1])


def _short(value: float | None) -> float | None:
    """Five digits are more than the page shows; JSON has no word for nan."""
    if not _is_finite(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.5g}")


def _script_json(content: Any) -> Markup:
    """JSON that no HTML parser takes for the end of its script element."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)
