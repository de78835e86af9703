"""Consistency against the kNN accuracy of the codes, along the lengths that they are cut to."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from solo_bayesncl.evaluation.lengths import AS_TRAINED, LENGTHS
from solo_bayesncl.report.figures.style import MUTED, Panel, percent_ticks, set_unit, styles
from solo_bayesncl.report.meanings import meaning_of
from solo_bayesncl.report.run import Comparison, Runs

CONSISTENCIES = {
    "adjusted_consistency": "chance-adjusted consistency",
    "weighted_consistency": "consistency weighted by active samples",
}
# of a label of two digits, in points: how far above its marker, width and height
LABEL_OFFSET, LABEL_SIZE = 7, (9, 6)

# length, and summaries over seeds of kNN (x) and consistency (y), as in `comparison.json`
Point = dict[str, Any]


def length_panels(runs: Runs, comparison: Comparison | None) -> Iterator[Panel]:
    """A panel per consistency."""
    summaries = (comparison or {}).get("summary", {})
    of_methods = (summary.get("equal_knn.level", {}).get("mean") for summary in summaries.values())
    levels = [level for level in of_methods if level is not None]
    for name, title in CONSISTENCIES.items():
        lines = {method: _points(summary, name) for method, summary in summaries.items()}
        if any(lines.values()):
            draw = partial(_draw_lines, lines=lines, level=max(levels, default=None))
            yield Panel(title, draw, meaning_of(f"codes.{name}"))


def _points(summary: dict[str, dict[str, Any]], name: str) -> list[Point]:
    """From long codes to short ones; a length that only some seeds reach is left out."""
    points = []
    for length in (AS_TRAINED, *map(str, reversed(LENGTHS))):
        x, y = (summary.get(f"code_lengths.{length}.{key}") for key in ("knn", name))
        if x and y and x["n"] == y["n"] > 0:
            points.append({"length": length, "x": x, "y": y})
    return [point for point in points if point["y"]["n"] == points[0]["y"]["n"]]


def _draw_lines(axes: Axes, lines: dict[str, list[Point]], level: float | None) -> None:
    """Means, open as trained and filled where cut, then their intervals in both directions."""
    drawn = [(lines[method], style) for method, style in styles(lines).items() if lines[method]]
    for points, style in drawn:
        x, y = _means(points)
        look = {"color": style.color, "marker": style.marker}
        axes.plot(x, y, color=style.color, linestyle=style.line)
        axes.plot(x[1:], y[1:], linestyle="", **look)
        axes.plot(x[:1], y[:1], markersize=7, markerfacecolor="none", markeredgewidth=1.4, **look)
    axes.margins(0.08)
    # of two seeds, intervals are so wide that lines would be dots beside them: they are cut off
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    for points, style in drawn:
        reaches = {f"{axis}err": [_reach(point[axis]) for point in points] for axis in "xy"}
        line = {"ecolor": style.color, "elinewidth": 1, "alpha": 0.5, "zorder": 1}
        axes.errorbar(*_means(points), **reaches, fmt="none", **line)
    _label_lengths(axes, [point for points, _ in drawn for point in points])
    if level is not None:
        axes.axvline(level, color=MUTED, linestyle=":", linewidth=1.2, zorder=1)
    axes.set_xlabel("kNN top-1, codes")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(percent_ticks("percent"))
    set_unit(axes, "share")


def _means(points: list[Point]) -> tuple[list[float], list[float]]:
    return [p["x"]["mean"] for p in points], [p["y"]["mean"] for p in points]


def _reach(summary: dict[str, Any]) -> float:
    return 0.0 if summary["high"] is None else summary["high"] - summary["mean"]


def _label_lengths(axes: Axes, points: list[Point]) -> None:
    """The length above its marker, where no other marker or label is."""
    to_points = axes.transData.transform(list(zip(*_means(points), strict=True)))
    markers = to_points * 72 / axes.figure.dpi
    taken = list(markers)
    for point, marker in zip(points, markers, strict=True):
        place = marker + np.array((0, LABEL_OFFSET))
        if point["length"] == AS_TRAINED or any(
            (abs(place - other) < LABEL_SIZE).all() for other in taken
        ):
            continue
        taken.append(place)
        axes.annotate(
            point["length"],
            (point["x"]["mean"], point["y"]["mean"]),
            (0, LABEL_OFFSET),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=6.5,
        )
