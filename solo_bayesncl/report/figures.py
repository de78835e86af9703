"""Figures of a report, each a list of panels: side by side for papers, one by one in the page."""

import html
import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from solo_bayesncl import files
from solo_bayesncl.report.formats import MINUS

if TYPE_CHECKING:
    from solo_bayesncl.report.run import RunReport

    Runs = Sequence[RunReport]

INK, MUTED, GRID = "#1b1f24", "#57606a", "#d8dce2"
PANEL_SIZE = (3.5, 2.6)
PAPER_COLUMNS = 3
# an SVG with a <use> for each of more points than this is larger than a bitmap of them
VECTOR_POINTS = 600

RC = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "legend.frameon": False,
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class MethodStyle:
    """How a method looks everywhere; the marker tells methods apart without colours."""

    color: str
    marker: str
    line: str | tuple


# Okabe and Ito's colours as far as they are seen on white and on near-black (contrast 3 : 1)
STYLES = (
    MethodStyle("#0072b2", "o", "-"),
    MethodStyle("#009e73", "s", "--"),
    MethodStyle("#d55e00", "^", "-"),
    MethodStyle("#b8609a", "D", "-."),
    MethodStyle("#96751a", "v", ":"),
    MethodStyle("#77808c", "P", "--"),
)
KNOWN = {"simclr": 0, "ncl": 1, "bayesncl": 2, "ncl_topk": 3, "bayesncl_gs": 4}

# what a comparison is read for; its other metrics are in the page's tables
COMPARED = (
    "codes.semantic_consistency",
    "codes.adjusted_consistency",
    "codes.semantic_entropy_sum",
    "codes.monosemanticity",
    "codes.active_dims",
    "codes.code_length",
    "accuracy.linear_backbone",
    "accuracy.knn_backbone",
    "accuracy.probe_codes",
)

# what chance gives, marked beside what is measured: metric -> (its chance, words)
CHANCE = {
    "codes.semantic_consistency": ("codes.shuffled_label_null", "labels shuffled"),
    "codes.monosemanticity": ("codes.monosemanticity_chance", "any images"),
}

# curves of `metrics.csv`: title, names of the column (the first that exists is taken), unit
CURVES = (
    ("InfoNCE", ("train_nce_loss_epoch", "train_nce_loss"), "nats"),
    ("KL to the prior", ("train_kl_loss_epoch", "train_kl_loss"), "nats"),
    ("gate open rate", ("train_gate_open_rate_epoch", "train_gate_open_rate"), "share"),
    ("consistency of the codes", ("semantic_consistency_codes",), "share"),
    ("online classifier, validation", ("val_acc1",), "percent"),
)


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: what it shows.
        draw: draws it on given axes.
    """

    title: str
    draw: Callable[[Axes], None]


@dataclass(frozen=True)
class Section:
    """A figure.

    Attributes:
        name: of its files and of its place in the page.
        title: its heading in the page.
        caption: how to read it.
        panels: (runs, comparison) -> panels, none without data.
        legend: whether a legend says which line is which method.
    """

    name: str
    title: str
    caption: str
    panels: Callable[["Runs", dict | None], list[Panel]]
    legend: bool = False

    def figure(self, runs: "Runs", comparison: dict | None = None) -> Figure | None:
        """The panels side by side, None without data."""
        panels = self.panels(runs, comparison)
        if not panels:
            return None
        columns = min(PAPER_COLUMNS, len(panels))
        rows = -(-len(panels) // columns)
        with matplotlib.rc_context(RC):
            size = (PANEL_SIZE[0] * columns, PANEL_SIZE[1] * rows)
            figure = Figure(figsize=size, layout="constrained")
            grid = figure.subplots(rows, columns, squeeze=False).flat
            for panel, axes in zip(panels, grid, strict=False):
                panel.draw(axes)
                axes.set_title(_text(panel.title))
            for axes in list(grid[len(panels) :]):
                axes.set_axis_off()
            if self.legend:
                grid[0].legend(handles=_legend(styles(run.label for run in runs)))
        return figure

    def svgs(self, runs: "Runs", comparison: dict | None = None) -> list[str]:
        """Every panel as an SVG element whose ink and grid are the page's CSS variables."""
        return [
            _inline_svg(panel, f"{self.name}-{number}")
            for number, panel in enumerate(self.panels(runs, comparison))
        ]


def styles(labels: Iterable[str]) -> dict[str, MethodStyle]:
    """Style of each method: its own for the known ones, the next free one for others."""
    labels = list(dict.fromkeys(labels))
    taken = {label: KNOWN[label] for label in labels if label in KNOWN}
    free = [number for number in range(len(STYLES)) if number not in taken.values()] or [0]
    others = [label for label in labels if label not in KNOWN]
    taken |= {label: free[number % len(free)] for number, label in enumerate(others)}
    return {label: STYLES[taken[label]] for label in labels}


def by_label(runs: "Runs") -> dict[str, list["RunReport"]]:
    """The runs (seeds) of each method, in the order given."""
    groups: dict[str, list[RunReport]] = {}
    for run in runs:
        groups.setdefault(run.label, []).append(run)
    return groups


def save_figures(folder: Path, runs: "Runs", comparison: dict | None = None) -> list[Path]:
    """Writes every figure that has data as PNG (150 dpi) and SVG.

    Args:
        folder: where to.
        runs: the runs to show.
        comparison: content of `comparison.json`, None without one.

    Returns:
        The files written.
    """
    written = []
    for section in SECTIONS:
        figure = section.figure(runs, comparison)
        if figure is None:
            continue
        bitmap = io.BytesIO()
        figure.savefig(bitmap, format="png", dpi=150, facecolor="white")
        png, svg = folder / f"{section.name}.png", folder / f"{section.name}.svg"
        files.write_bytes(png, bitmap.getvalue())
        figure.set_layout_engine("none")  # it is laid out
        files.write_text(svg, _svg(figure, section.name))
        written += [png, svg]
    return written


def _curve_panels(runs: "Runs", comparison: dict | None) -> list[Panel]:
    panels = []
    for title, names, unit in CURVES:
        series = {
            label: [
                next((run.curves[name] for name in names if run.curves.get(name)), [])
                for run in group
            ]
            for label, group in by_label(runs).items()
        }
        if any(any(of_seed) for of_seed in series.values()):
            draw = partial(_draw_lines, series=series, unit=unit, x_label="epoch")
            panels.append(Panel(title, draw))
    return panels


def _retrieval_panels(runs: "Runs", comparison: dict | None) -> list[Panel]:
    def precision(run: "RunReport") -> list[tuple[int, float]]:
        table = run.evaluation.get("retrieval") or {}
        return _points((dims, row.get("precision_at_1")) for dims, row in table.items())

    return _dims_panel("retrieval, precision@1", runs, precision, "share")


def _selection_panels(runs: "Runs", comparison: dict | None) -> list[Panel]:
    def accuracy(run: "RunReport") -> list[tuple[int, float]]:
        return _points((run.evaluation.get("feature_selection") or {}).items())

    return _dims_panel("linear probe, accuracy", runs, accuracy, "percent")


def _dims_panel(title: str, runs: "Runs", points: Callable, unit: str) -> list[Panel]:
    series = {label: [points(run) for run in group] for label, group in by_label(runs).items()}
    if not any(any(of_seed) for of_seed in series.values()):
        return []
    draw = partial(
        _draw_lines, series=series, unit=unit, x_label="most active dimensions kept", log2=True
    )
    return [Panel(title, draw)]


def _points(cells: Iterable[tuple[str, float | None]]) -> list[tuple[int, float]]:
    return sorted((int(dims), value) for dims, value in cells if value is not None)


def _draw_lines(
    axes: Axes,
    series: dict[str, list[list[tuple[int, float]]]],
    unit: str,
    x_label: str,
    log2: bool = False,
) -> None:
    """A line per method: the mean over seeds, in a band from the smallest to the largest."""
    every_x = set()
    for label, style in styles(series).items():
        at: dict[int, list[float]] = {}
        for points in series[label]:
            for x, y in points:
                at.setdefault(x, []).append(y)
        if not at:
            continue
        x = sorted(at)
        every_x.update(x)
        mean = [sum(at[key]) / len(at[key]) for key in x]
        marker = style.marker if log2 or len(x) == 1 else None
        axes.plot(x, mean, color=style.color, linestyle=style.line, marker=marker)
        if len(series[label]) > 1:
            low, high = [min(at[key]) for key in x], [max(at[key]) for key in x]
            axes.fill_between(x, low, high, color=style.color, alpha=0.2, linewidth=0)
    axes.set_xlabel(x_label)
    if log2:
        axes.set_xscale("log", base=2)
        ticks = _apart(sorted(every_x))
        axes.set_xticks(ticks, [str(x) for x in ticks])
        axes.minorticks_off()
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _set_unit(axes, unit)


def _apart(numbers: list[int]) -> list[int]:
    """At most eight of them, the largest among them, each half as large again as the last."""
    kept: list[int] = []
    for number in reversed(numbers):
        if not kept or number * 1.5 <= kept[-1]:
            kept.append(number)
    return kept[:: -(-len(kept) // 8)][::-1]


def _gate_panels(runs: "Runs", comparison: dict | None) -> list[Panel]:
    dots = {
        label: [
            (row["projection_density"], row["open_rate"], row["consistency"])
            for run in group
            for row in gated_dimensions(run)
        ]
        for label, group in by_label(runs).items()
    }
    # one scale of colours for all methods
    most = max((c for of in dots.values() for *_, c in of if c is not None), default=1)
    return [
        Panel(label, partial(_draw_gate, dots=of, most=most)) for label, of in dots.items() if of
    ]


def _gate_factor_panels(runs: "Runs", comparison: dict | None) -> list[Panel]:
    groups = {
        label: [row for run in group for row in gated_dimensions(run)]
        for label, group in by_label(runs).items()
    }
    gated = [label for label, rows in groups.items() if rows]
    panels = []
    for factor in factors_of(runs):
        for label in gated:
            dots = [
                (information, row["open_rate"])
                for row in groups[label]
                if (information := information_on(factor, row)) is not None
            ]
            if dots:
                title = factor if len(gated) == 1 else f"{factor}, {label}"
                draw = partial(_draw_gate_factor, dots=dots, style=styles(groups)[label])
                panels.append(Panel(title, draw))
    return panels


def factors_of(runs: "Runs") -> list[str]:
    """Factors that dimensions of any of these runs have information on."""
    rows = [row for run in runs for row in (run.dimensions or {}).get("dimensions", [])]
    return list(dict.fromkeys(name for row in rows for name in row.get("information") or {}))


def information_on(factor: str, row: dict[str, Any]) -> float | None:
    """Mutual information of a dimension with a factor, in nats; before the gate if it has one."""
    return (row.get("information") or {}).get(factor)


def gated_dimensions(run: "RunReport") -> list[dict[str, Any]]:
    """Rows of the dimensions that are active on some sample before the gate."""
    rows = (run.dimensions or {}).get("dimensions", [])
    return [row for row in rows if row.get("projection_density") and row["open_rate"] is not None]


def _draw_gate(axes: Axes, dots: list[tuple[float, float, float | None]], most: float) -> None:
    density, open_rate, consistency = zip(*dots, strict=True)
    # what is closed everywhere has no consistency: a point without colour
    consistency = [float("nan") if value is None else value for value in consistency]
    look = _dots(len(dots))
    points = axes.scatter(
        density,
        open_rate,
        c=consistency,
        cmap=matplotlib.colormaps["viridis"].with_extremes(bad=(0, 0, 0, 0)),
        vmin=0,
        vmax=most,
        plotnonfinite=True,
        edgecolors="#8a929c",
        **look,
    )
    axes.set_xlim(left=0)
    axes.set_xlabel("active before the gate")
    axes.xaxis.set_major_formatter(_percent(100))
    _set_open_rate(axes)
    bar = axes.figure.colorbar(points, ax=axes, format=_percent(100))
    bar.set_label("consistency")
    bar.outline.set_visible(False)


def _draw_gate_factor(axes: Axes, dots: list[tuple[float, float]], style: MethodStyle) -> None:
    information, open_rate = zip(*dots, strict=True)
    look = {"color": style.color, "marker": style.marker, "edgecolors": "none", "alpha": 0.6}
    axes.scatter(information, open_rate, **(_dots(len(dots)) | look))
    axes.set_xlabel("mutual information with the factor, nats")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    _set_open_rate(axes)


def _dots(count: int) -> dict[str, Any]:
    """How a point of so many looks."""
    many = count > VECTOR_POINTS
    return {"s": 6 if many else 14, "linewidths": 0.15 if many else 0.4, "rasterized": many}


def _set_open_rate(axes: Axes) -> None:
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("gate open")
    axes.yaxis.set_major_formatter(_percent(100))


def _comparison_panels(runs: "Runs", comparison: dict | None) -> list[Panel]:
    if comparison is None:
        return []
    panels = []
    for metric in comparison["metrics"]:
        values = {method: of.get(metric["key"]) for method, of in comparison["values"].items()}
        seen = [value for column in values.values() for value in column or [] if value is not None]
        if metric["key"] in COMPARED and seen:
            draw = partial(_draw_comparison, comparison=comparison, metric=metric)
            panels.append(Panel(metric["label"], draw))
    return panels


def _draw_comparison(axes: Axes, comparison: dict, metric: dict) -> None:
    """Every seed's value, beside it the mean with its confidence interval."""
    methods, key = comparison["methods"], metric["key"]
    chance_key, chance_words = CHANCE.get(key, (None, ""))
    for place, (method, style) in enumerate(styles(methods).items()):
        values = [v for v in comparison["values"][method].get(key) or [] if v is not None]
        dots = {
            "color": style.color,
            "marker": style.marker,
            "s": 18,
            "alpha": 0.7,
            "linewidths": 0,
        }
        axes.scatter([place - 0.15] * len(values), values, **dots)
        summary = comparison["summary"][method].get(key) or {}
        if summary.get("mean") is not None:
            _draw_mean(axes, place + 0.15, summary, style)
        chance = comparison["summary"][method].get(chance_key) or {}
        if chance.get("mean") is not None:
            reach = (place - 0.35, place + 0.35)
            axes.hlines(chance["mean"], *reach, color=MUTED, linestyle=":", linewidth=1.2)
            axes.plot([], [], color=MUTED, linestyle=":", linewidth=1.2, label=chance_words)
    handles, words = axes.get_legend_handles_labels()
    if handles:
        axes.legend(handles[:1], words[:1], fontsize=7, loc="best")
    axes.set_xticks(range(len(methods)), [_text(method) for method in methods])
    if len(methods) > 4 or max(map(len, methods)) > 10:
        axes.tick_params(axis="x", labelrotation=25)
    axes.set_xlim(-0.6, len(methods) - 0.4)
    axes.grid(visible=False, axis="x")
    _set_unit(axes, metric["unit"])


def _draw_mean(axes: Axes, x: float, summary: dict[str, float | None], style: MethodStyle) -> None:
    mean, low, high = (summary.get(name) for name in ("mean", "low", "high"))
    reach = None if low is None else [[mean - low], [high - mean]]
    look = {"color": style.color, "marker": "_", "markersize": 9, "capsize": 3, "linewidth": 1.2}
    axes.errorbar([x], [mean], yerr=reach, **look)


def _factor_panels(runs: "Runs", comparison: dict | None) -> list[Panel]:
    groups = by_label(runs)
    names = dict.fromkeys(name for run in runs for name in run.evaluation.get("factors") or {})
    panels = []
    for name in names:
        values = {
            (label, space): _mutual_information(group, name, space)
            for label, group in groups.items()
            for space in ("projections", "codes")
        }
        if any(values.values()):
            panels.append(Panel(name, partial(_draw_factor, labels=list(groups), values=values)))
    return panels


def _mutual_information(runs: "Runs", factor: str, space: str) -> list[float]:
    cells = (
        ((run.evaluation.get("factors") or {}).get(factor, {}).get(space) or {}) for run in runs
    )
    values = (cell.get("mutual_information_mean") for cell in cells)
    return [value for value in values if value is not None]


def _draw_factor(axes: Axes, labels: list[str], values: dict[tuple[str, str], list[float]]) -> None:
    for place, (label, style) in enumerate(styles(labels).items()):
        spaces = [space for space in ("projections", "codes") if values[label, space]]
        for number, space in enumerate(spaces):
            of_seeds = values[label, space]
            mean = sum(of_seeds) / len(of_seeds)
            x = place + 0.36 * (number - (len(spaces) - 1) / 2)
            filled = {"color": style.color} if space == "codes" else {"facecolor": "none"}
            axes.bar(x, mean, width=0.32, edgecolor=style.color, linewidth=1.2, **filled)
            if len(of_seeds) > 1:
                axes.vlines(x, min(of_seeds), max(of_seeds), color=INK, linewidth=1)
    if any(values[label, "projections"] for label in labels):
        before = Patch(facecolor="none", edgecolor=MUTED, label="projections")
        axes.legend(handles=[before, Patch(color=MUTED, label="codes")], fontsize=7)
    axes.set_xticks(range(len(labels)), [_text(label) for label in labels])
    axes.set_xlim(-0.6, len(labels) - 0.4)
    axes.set_ylabel("mutual information, nats")
    axes.grid(visible=False, axis="x")


def _set_unit(axes: Axes, unit: str) -> None:
    if unit in ("share", "percent"):
        axes.yaxis.set_major_formatter(_percent(100 if unit == "share" else 1))
    elif unit == "nats":
        axes.set_ylabel("nats")


def _percent(factor: float) -> FuncFormatter:
    return FuncFormatter(lambda value, _: f"{factor * value:.4g} %".replace("-", MINUS))


def _legend(of: dict[str, MethodStyle]) -> list[Line2D]:
    return [
        Line2D([], [], color=s.color, linestyle=s.line, marker=s.marker, label=_text(label))
        for label, s in of.items()
    ]


def _text(words: str) -> str:
    """A name as it is: matplotlib would read what is between two dollars as mathematics."""
    return words.replace("$", r"\$")


def _svg(figure: Figure, salt: str) -> str:
    """SVG whose identifiers depend on the content and `salt` alone, without a date."""
    target = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({**RC, "svg.hashsalt": salt}):
        figure.savefig(target, format="svg", dpi=200, metadata=nothing, transparent=True)
    return target.getvalue()


def _inline_svg(panel: Panel, salt: str) -> str:
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=PANEL_SIZE, layout="constrained")
        axes = figure.add_subplot()
        panel.draw(axes)
        axes.set_title(_text(panel.title))
    svg = _svg(figure, salt)
    described = f'<svg role="img" aria-label="{html.escape(panel.title)}" '
    svg = svg[svg.index("<svg") :].replace("<svg ", described, 1)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    # identifiers that nothing refers to would occur again in the next panel
    used = set(re.findall(r"#([\w.-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    svg = re.sub(r' width="[^"]*pt" height="[^"]*pt"', "", svg, count=1)
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    for color, variable in ((INK, "ink"), (MUTED, "muted"), (GRID, "grid")):
        svg = svg.replace(color, f"var(--{variable})")
    return re.sub(r"\n\s*", "\n", svg)


SECTIONS = (
    Section(
        "comparison",
        "Headline metrics",
        "A dot is one seed; beside the dots are the mean and its confidence interval. "
        "Dotted lines mark what chance gives.",
        _comparison_panels,
    ),
    Section(
        "curves",
        "Training curves",
        "Lines are means over seeds, bands reach from the smallest to the largest seed.",
        _curve_panels,
        legend=True,
    ),
    Section(
        "gate",
        "Which dimensions the gate closes",
        "A point is a dimension. Across: on how many samples it is active before the gate. Up: on "
        "how many samples its gate is open; those without colour are active on none behind it. "
        "Common features are closed where points fall to the lower right.",
        _gate_panels,
    ),
    Section(
        "gate_factors",
        "Which factors the gate closes",
        "A point is a dimension that is active before the gate. Across: what it says there about a "
        "known factor of the images. Up: on how many samples its gate is open. A factor is closed "
        "where points fall to the lower right.",
        _gate_factor_panels,
    ),
    Section(
        "retrieval",
        "Retrieval with few dimensions",
        "Share of samples whose nearest neighbour has their class, when only the most active "
        "dimensions are kept. Means over seeds, bands from the smallest to the largest.",
        _retrieval_panels,
        legend=True,
    ),
    Section(
        "selection",
        "Feature selection",
        "Top-1 accuracy of a linear probe on the most active dimensions alone.",
        _selection_panels,
        legend=True,
    ),
    Section(
        "factors",
        "Factors of variation",
        "Mean mutual information of a dimension with a known factor: outlined for projections "
        "(before the gate), filled for codes. Black lines reach from the smallest to the largest "
        "seed.",
        _factor_panels,
    ),
)
