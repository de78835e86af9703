"""Open rates of the gate by a dimension's density and by its information on a factor."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from solo_bayesncl.report.catalogue import information_on
from solo_bayesncl.report.figures.style import MethodStyle, Panel, percent_ticks, set_unit, styles
from solo_bayesncl.report.run import Comparison, Runs, by_label, factors_of

# an SVG with a <use> for each of more points than this is larger than a bitmap of them
VECTOR_POINTS = 600


def gate_panels(runs: Runs, comparison: Comparison | None) -> Iterator[Panel]:
    """A panel per method with a gate."""
    dots = {
        label: [
            (row["projection_density"], row["open_rate"], row["consistency"])
            for run in group
            for row in run.gated_rows
        ]
        for label, group in by_label(runs).items()
    }
    # one colour scale for all methods
    most = max((c for of in dots.values() for *_, c in of if c is not None), default=1)
    for label, of_method in dots.items():
        if of_method:
            yield Panel(label, partial(_draw_gate, dots=of_method, most=most))


def gate_factor_panels(runs: Runs, comparison: Comparison | None) -> Iterator[Panel]:
    """A panel per factor and method with a gate."""
    groups = by_label(runs)
    gated = {
        label: rows
        for label, group in groups.items()
        if (rows := [row for run in group for row in run.gated_rows])
    }
    for factor in factors_of(runs):
        for label, rows in gated.items():
            values = ((information_on(factor).of(row), row["open_rate"]) for row in rows)
            dots = [(information, rate) for information, rate in values if information is not None]
            if dots:
                title = factor if len(gated) == 1 else f"{factor}, {label}"
                draw = partial(_draw_gate_factor, dots=dots, style=styles(groups)[label])
                yield Panel(title, draw)


def _draw_gate(axes: Axes, dots: list[tuple[float, float, float | None]], most: float) -> None:
    density, open_rate, consistency = zip(*dots, strict=True)
    points = axes.scatter(
        density,
        open_rate,
        # a dimension closed everywhere has no consistency: a point without a fill
        c=[float("nan") if value is None else value for value in consistency],
        cmap=matplotlib.colormaps["viridis"].with_extremes(bad=(0, 0, 0, 0)),
        vmin=0,
        vmax=most,
        plotnonfinite=True,
        edgecolors="#8a929c",
        **_dots(len(dots)),
    )
    axes.set_xlim(left=0)
    axes.set_xlabel("density before the gate")
    axes.xaxis.set_major_formatter(percent_ticks("share"))
    _set_open_rate(axes)
    bar = axes.figure.colorbar(points, ax=axes, format=percent_ticks("share"))
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
    """Style of `count` points, a bitmap if there are many."""
    many = count > VECTOR_POINTS
    return {"s": 6 if many else 14, "linewidths": 0.15 if many else 0.4, "rasterized": many}


def _set_open_rate(axes: Axes) -> None:
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("gate open rate")
    set_unit(axes, "share")
