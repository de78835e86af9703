"""The page of a report: one self-contained HTML file."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from solo_bayesncl import files
from solo_bayesncl.errors import InputError
from solo_bayesncl.report import page_tables
from solo_bayesncl.report.browser import browser_json, fields_of
from solo_bayesncl.report.catalogue import AT_EQUAL_KNN, METRICS, DimensionField
from solo_bayesncl.report.figures import PANELS, WITH_LEGEND, panel_svgs
from solo_bayesncl.report.figures.style import styles
from solo_bayesncl.report.formats import listed, percent
from solo_bayesncl.report.gallery import LEAST_SUPPORT, choices_of, method_row
from solo_bayesncl.report.headlines import Headline, headlines
from solo_bayesncl.report.meanings import MEANINGS, meaning_of, name_of
from solo_bayesncl.report.run import Comparison, Runs, by_label
from solo_bayesncl.report.sheet import Sheet, file_as_data_uri
from solo_bayesncl.text import printable

HERE = Path(__file__).parent


def write_page(
    path: Path,
    runs: Runs,
    comparison: Comparison | None = None,
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
    first = [group[0] for group in by_label(runs).values()]
    with_dimensions = [run for run in first if run.dimensions]
    fields = fields_of(with_dimensions)
    # a comparison shows a choice of the dimensions of its methods, `explain` all of a run's
    browsed = [] if comparison else with_dimensions
    sheet = Sheet()
    rows = [method_row(run, fields, sheet) for run in with_dimensions] if comparison else []
    tables = page_tables.tables(runs, comparison)
    columns = headlines(runs, comparison)
    settings = page_tables.settings_table(runs)
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        finalize=_without_controls,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"meaning_of": meaning_of, "name_of": name_of}
    html = environment.get_template("page.html.j2").render(
        title=title,
        source=lambda name: Markup((HERE / name).read_text(encoding="utf-8")),
        facts=_facts(runs, comparison),
        warnings=_warnings(runs, comparison),
        gallery=rows,
        choices=choices_of(with_dimensions),
        sheet=sheet.data_uri(),
        sheet_columns=sheet.columns,
        headlines=columns,
        methods=comparison["methods"] if comparison else list(by_label(runs)),
        comparison=comparison,
        highlights=(comparison or {}).get("highlights", []),
        sentences=_other_sentences(comparison),
        printed_notes=_printed_notes(comparison),
        tables=tables,
        verdicts=page_tables.verdicts(comparison) if comparison else "",
        headline_caption=_headline_caption(comparison),
        hints=_hints(tables, settings, comparison) | _titles(runs, comparison),
        least_support=LEAST_SUPPORT,
        legend=styles(run.label for run in runs),
        figures={
            name: [Markup(svg) for svg in svgs]
            for name in PANELS
            if (svgs := panel_svgs(name, runs, comparison))
        },
        with_legend=WITH_LEGEND,
        browsed=browsed,
        sprites=[run.thumbnails and file_as_data_uri(run.thumbnails) for run in browsed],
        fields=fields,
        data=browser_json(browsed, fields),
        settings=settings,
        definitions=_definitions(tables, columns, fields if with_dimensions else []),
    )
    files.write_text(path, html)


def _without_controls(value: Any) -> Any:
    """HTML has no control characters; the page's own parts are `Markup`."""
    return printable(value, keep="\n") if type(value) is str else value


def _facts(runs: Runs, comparison: Comparison | None) -> dict[str, str]:
    """What was compared: name -> value."""
    labels = list(by_label(runs))
    seeds = {run.seed for run in runs if run.seed is not None}
    facts = {
        "Methods" if len(labels) > 1 else "Method": listed(labels),
        "Seeds" if len(seeds) > 1 else "Seed": listed(run.seed for run in runs),
        "Validation images": listed(run.evaluation.get("samples") for run in runs),
        "Data": listed(run.evaluation.get("data") for run in runs),
        "Optimizer steps": listed(run.evaluation.get("optimizer_steps") for run in runs),
    }
    incomplete = [
        f"{name} ({factor['samples']} of {run.evaluation.get('samples')} images)"
        for run in runs
        for name, factor in (run.evaluation.get("factors") or {}).items()
        if "samples" in factor
    ]
    if incomplete:
        facts["Factors that some images have no value of"] = listed(incomplete)
    diverged = [
        f"{run.heading}: {', '.join(spaces)}"
        for run in runs
        if (spaces := run.evaluation.get("not_finite"))
    ]
    if diverged:
        facts["Diverged (values that are not finite)"] = "; ".join(diverged)
    if any(run.evaluation.get("quick") for run in runs):
        facts["Linear probes of the codes"] = "left out (quick)"
    cuts = [
        f"codes cut to length {table['code_length']:g}, entries above {table['code_threshold']:.3g}"
        for run in runs
        if (table := run.dimensions or {}).get("code_threshold")
    ]
    if cuts:
        facts["Dimensions are of"] = f"{listed(cuts)}; all other numbers are of codes as trained"
    return facts


def _printed_notes(comparison: Comparison | None) -> list[str]:
    return ((comparison or {}).get("printed") or {}).get("notes", [])


def _other_sentences(comparison: Comparison | None) -> list[str]:
    """Those on differences; warnings and notes on printed results have places of their own."""
    if comparison is None:
        return []
    shown = {*_printed_notes(comparison), *comparison.get("warnings", [])}
    return [sentence for sentence in comparison["sentences"] if sentence not in shown]


def _warnings(runs: Runs, comparison: Comparison | None) -> list[str]:
    """What makes a comparison unfair or a model's numbers meaningless."""
    if comparison:
        return comparison.get("warnings", [])
    return [f"{run.heading}: {w}" for run in runs for w in run.evaluation.get("warnings", [])]


def _headline_caption(comparison: Comparison | None) -> str:
    if comparison is None:
        return "Of one run: no intervals"
    seeds = comparison["seeds"]
    if len(seeds) == 1:
        return f"Of seed {seeds[0]} alone: no intervals"
    return f"Means over {len(seeds)} seeds, with {percent(comparison['confidence'])} intervals"


def _hints(
    tables: dict[str, list[page_tables.Table]],
    settings: page_tables.Table,
    comparison: Comparison | None,
) -> dict[str, str]:
    """What a fold holds, by its name."""
    rows = {
        name: sum(len(table.rows) + len(table.more) for table in of) for name, of in tables.items()
    }
    hints = {"numbers": f"{rows.get('numbers', 0)} metrics", "settings": "", "gate": ""}
    if "gate" in tables:
        _, *gated = tables["gate"][0].columns
        hints["gate"] = ", ".join(gated)
    if settings.more:
        hints["settings"] = f"{len(settings.rows)} differ between methods"
    if comparison:
        several = ", with intervals" if len(comparison["seeds"]) > 1 else ""
        hints["numbers"] += f" of {len(comparison['methods'])} methods{several}"
        hints["differences"] = page_tables.verdicts(comparison)
    if "printed" in tables:
        hints["printed"] = f"{rows['printed']} values of {comparison['printed']['source']}"
    return hints


def _titles(runs: Runs, comparison: Comparison | None) -> dict[str, str]:
    """What the panels of these figures show."""
    return {
        name: ", ".join(panel.title for panel in PANELS[name](runs, comparison))
        for name in ("curves", "factors")
    }


def _definitions(
    tables: dict[str, list[page_tables.Table]],
    columns: list[Headline],
    fields: list[DimensionField],
) -> dict[str, tuple[str, str]]:
    """Identifier -> (label, meaning) of every number on the page, once by name."""
    known = {metric.name: metric.label for metric in reversed((*METRICS, *AT_EQUAL_KNN))}
    names = [name_of(column.key) for column in columns]
    names += [name_of(key) for of in tables.values() for table in of for key in table.keys]
    found = {
        name: (known.get(name, name.replace("_", " ")), MEANINGS[name])
        for name in dict.fromkeys(names)
        if name in MEANINGS
    }
    of_dimensions = {
        f"dimension-{f.key}": (f"of a dimension: {f.label}", f.meaning) for f in fields
    }
    return found | of_dimensions
