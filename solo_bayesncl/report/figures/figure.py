"""A figure is a list of panels: side by side for papers, one by one in the page."""

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from solo_bayesncl import files
from solo_bayesncl.report.figures.comparison import comparison_panels
from solo_bayesncl.report.figures.factors import factor_panels
from solo_bayesncl.report.figures.gate import gate_factor_panels, gate_panels
from solo_bayesncl.report.figures.lengths import length_panels
from solo_bayesncl.report.figures.lines import curve_panels, retrieval_panels, selection_panels
from solo_bayesncl.report.figures.style import RC, MethodStyle, Panel, literal, styles
from solo_bayesncl.report.figures.svg import inline_svg, svg_of
from solo_bayesncl.report.run import Comparison, Runs

PANEL_SIZE = (3.5, 2.6)
PAPER_COLUMNS = 3
# the longest legend that does not hide a panel; longer ones are below, in lines of this height
LEGEND_INSIDE, LEGEND_LINE = 5, 0.2

# name of the figure -> its panels, none without data
PANELS: dict[str, Callable[[Runs, Comparison | None], Iterable[Panel]]] = {
    "lengths": length_panels,
    "comparison": comparison_panels,
    "curves": curve_panels,
    "gate": gate_panels,
    "gate_factors": gate_factor_panels,
    "retrieval": retrieval_panels,
    "selection": selection_panels,
    "factors": factor_panels,
}
# those that do not name their methods otherwise
WITH_LEGEND = ("lengths", "curves", "retrieval", "selection")


def figure_of(name: str, runs: Runs, comparison: Comparison | None = None) -> Figure | None:
    """The panels side by side, None without data."""
    panels = list(PANELS[name](runs, comparison))
    legend = styles(run.label for run in runs) if name in WITH_LEGEND else {}
    return _drawn(panels, legend) if panels else None


def panel_svgs(name: str, runs: Runs, comparison: Comparison | None = None) -> list[str]:
    """Every panel as an SVG element whose ink and grid are the page's CSS variables."""
    return [
        inline_svg(_drawn([panel]), panel.title, f"{name}-{number}", panel.meaning)
        for number, panel in enumerate(PANELS[name](runs, comparison))
    ]


def figure_names() -> set[str]:
    """Names of the files that `save_figures` can write."""
    return {f"{name}.{suffix}" for name in PANELS for suffix in ("png", "svg")}


def save_figures(folder: Path, runs: Runs, comparison: Comparison | None = None) -> list[Path]:
    """Writes every figure that has data as PNG (150 dpi) and SVG.

    Args:
        folder: where to.
        runs: the runs to show.
        comparison: content of `comparison.json`, None without one.

    Returns:
        The files written.
    """
    written = []
    for name in PANELS:
        figure = figure_of(name, runs, comparison)
        if figure is None:
            continue
        bitmap = io.BytesIO()
        figure.savefig(bitmap, format="png", dpi=150, facecolor="white")
        figure.set_layout_engine("none")  # keeps the layout of the PNG
        png, svg = folder / f"{name}.png", folder / f"{name}.svg"
        files.write_bytes(png, bitmap.getvalue())
        files.write_text(svg, svg_of(figure, name))
        written += [png, svg]
    return written


def _drawn(panels: Sequence[Panel], legend: dict[str, MethodStyle] | None = None) -> Figure:
    columns = min(PAPER_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    below = len(legend or {}) > LEGEND_INSIDE
    height = PANEL_SIZE[1] * rows
    if below:
        height += LEGEND_LINE * -(-len(legend) // (2 * columns))
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(PANEL_SIZE[0] * columns, height), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).flat
        for panel, axes in zip(panels, grid, strict=False):
            panel.draw(axes)
            axes.set_title(literal(panel.title))
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        if legend:
            handles = [
                Line2D([], [], color=s.color, ls=s.line, marker=s.marker, label=literal(label))
                for label, s in legend.items()
            ]
            if below:
                figure.legend(handles=handles, loc="outside lower center", ncols=2 * columns)
            else:
                grid[0].legend(handles=handles)
    return figure
