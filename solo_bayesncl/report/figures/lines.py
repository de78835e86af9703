"""Lines over epochs, or over the number of dimensions that are kept."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from operator import methodcaller
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from solo_bayesncl.report.catalogue import CURVES
from solo_bayesncl.report.figures.style import Panel, set_unit, styles
from solo_bayesncl.report.run import Comparison, RunReport, Runs, by_label

KEPT = {"x_label": "most active dimensions kept", "log2": True}

Points = list[tuple[int, float]]


def curve_panels(runs: Runs, comparison: Comparison | None) -> Iterator[Panel]:
    """A panel per curve of training."""
    for curve in CURVES:
        points = methodcaller("curve", curve.name)
        yield from _line_panel(curve.label, runs, points, unit=curve.unit, x_label="epoch")


def retrieval_panels(runs: Runs, comparison: Comparison | None) -> Iterator[Panel]:
    """Retrieval precision over the number of dimensions."""

    def precision(run: RunReport) -> Points:
        table = run.evaluation.get("retrieval") or {}
        return _points((dims, row.get("precision_at_1")) for dims, row in table.items())

    return _line_panel("retrieval, precision@1", runs, precision, unit="share", **KEPT)


def selection_panels(runs: Runs, comparison: Comparison | None) -> Iterator[Panel]:
    """Accuracy of a linear probe over the number of dimensions."""

    def accuracy(run: RunReport) -> Points:
        return _points((run.evaluation.get("feature_selection") or {}).items())

    return _line_panel("linear probe, accuracy", runs, accuracy, unit="percent", **KEPT)


def _points(cells: Iterable[tuple[str, float | None]]) -> Points:
    return sorted((int(dims), value) for dims, value in cells if value is not None)


def _line_panel(
    title: str, runs: Runs, points: Callable[[RunReport], Points], **look: Any
) -> Iterator[Panel]:
    """One panel, none if no run has points."""
    series = {label: [points(run) for run in group] for label, group in by_label(runs).items()}
    if any(any(of_seed) for of_seed in series.values()):
        yield Panel(title, partial(_draw_lines, series=series, **look))


def _draw_lines(
    axes: Axes, series: dict[str, list[Points]], unit: str, x_label: str, log2: bool = False
) -> None:
    """A line per method: the mean over seeds, in a band that spans the seeds."""
    every_x = set()
    for label, style in styles(series).items():
        at: dict[int, list[float]] = {}
        for x, y in chain(*series[label]):
            at.setdefault(x, []).append(y)
        if not at:
            continue
        x = sorted(at)
        every_x.update(x)
        marker = style.marker if log2 or len(x) == 1 else None
        mean = [sum(at[key]) / len(at[key]) for key in x]
        axes.plot(x, mean, color=style.color, linestyle=style.line, marker=marker)
        if len(series[label]) > 1:
            low, high = [min(at[key]) for key in x], [max(at[key]) for key in x]
            axes.fill_between(x, low, high, color=style.color, alpha=0.2, linewidth=0)
    axes.set_xlabel(x_label)
    if log2:
        axes.set_xscale("log", base=2)
        ticks = _spread(sorted(every_x))
        axes.set_xticks(ticks, [str(x) for x in ticks])
        axes.minorticks_off()
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    set_unit(axes, unit)


def _spread(numbers: list[int]) -> list[int]:
    """At most eight of the numbers, the largest among them, by factors of at least 1.5."""
    kept: list[int] = []
    for number in reversed(numbers):
        if not kept or number * 1.5 <= kept[-1]:
            kept.append(number)
    return kept[:: -(-len(kept) // 8)][::-1]
