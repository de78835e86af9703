"""The page of a report: one self-contained HTML file."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from solo_bayesncl import files
from solo_bayesncl.errors import InputError
from solo_bayesncl.report import page_tables
from solo_bayesncl.report.browser import browser_json, fields_of
from solo_bayesncl.report.figures import PANELS, WITH_LEGEND, panel_svgs
from solo_bayesncl.report.figures.style import styles
from solo_bayesncl.report.formats import listed, percent
from solo_bayesncl.report.run import Comparison, Runs, by_label
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
    browsed = [group[0] for group in by_label(runs).values() if group[0].dimensions]
    fields = fields_of(browsed)
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        finalize=_without_controls,
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
        tables=(
            page_tables.comparison_tables(comparison)
            if comparison
            else page_tables.run_tables(runs)
        ),
        legend=styles(run.label for run in runs),
        figures={
            name: [Markup(svg) for svg in svgs]
            for name in PANELS
            if (svgs := panel_svgs(name, runs, comparison))
        },
        with_legend=WITH_LEGEND,
        gate_table=page_tables.gate_table(runs),
        browsed=browsed,
        fields=fields,
        data=browser_json(browsed, fields),
        settings=page_tables.settings_table(runs),
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
    if warnings := [
        f"{run.heading}: {w}" for run in runs for w in run.evaluation.get("warnings", [])
    ]:
        facts["Warnings"] = " ".join(warnings)
    if any(run.evaluation.get("quick") for run in runs):
        facts["Linear probes of the codes"] = "left out (quick)"
    cuts = [
        f"codes cut to length {table['code_length']:g}, entries above {table['code_threshold']:.3g}"
        for run in runs
        if (table := run.dimensions or {}).get("code_threshold")
    ]
    if cuts:
        facts["Dimensions are of"] = f"{listed(cuts)}; all other numbers are of codes as trained"
    if comparison:
        facts["Intervals"] = f"{percent(comparison['confidence'])} confidence over seeds"
    return facts
