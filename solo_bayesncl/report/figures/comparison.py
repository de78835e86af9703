"""Methods side by side: every seed, the mean and its confidence interval."""

from collections.abc import Iterator
from functools import partial

from matplotlib.axes import Axes

from solo_bayesncl.report.catalogue import AT_EQUAL_KNN, FIGURE, METRICS, Metric
from solo_bayesncl.report.figures.style import MUTED, Panel, set_methods, set_unit, styles
from solo_bayesncl.report.meanings import meaning_of
from solo_bayesncl.report.run import Comparison, Runs


def comparison_panels(runs: Runs, comparison: Comparison | None) -> Iterator[Panel]:
    """A panel per metric that any seed has a value of."""
    summaries = (comparison or {}).get("summary", {}).values()
    for metric in (*METRICS, *AT_EQUAL_KNN):
        has_values = any(summary.get(metric.key, {}).get("n") for summary in summaries)
        if metric.shown >= FIGURE and has_values:
            draw = partial(_draw_metric, comparison=comparison, metric=metric)
            yield Panel(metric.label, draw, meaning_of(metric.key))


def _draw_metric(axes: Axes, comparison: Comparison, metric: Metric) -> None:
    methods = comparison["methods"]
    chance_key, chance_label = metric.chance or (None, None)
    for place, (method, style) in enumerate(styles(methods).items()):
        values = [v for v in comparison["values"][method][metric.key] if v is not None]
        dots = {"color": style.color, "marker": style.marker, "s": 18, "alpha": 0.7}
        axes.scatter([place - 0.15] * len(values), values, linewidths=0, **dots)
        summary = comparison["summary"][method]
        mean, low, high = (summary[metric.key][name] for name in ("mean", "low", "high"))
        if mean is not None:
            bar = {"color": style.color, "marker": "_", "markersize": 9, "capsize": 3}
            reach = None if low is None else [[mean - low], [high - mean]]
            axes.errorbar([place + 0.15], [mean], yerr=reach, linewidth=1.2, **bar)
        chance = summary.get(chance_key, {}).get("mean")
        if chance is not None:
            label = None if axes.get_legend_handles_labels()[0] else chance_label
            line = {"color": MUTED, "linestyle": ":", "linewidth": 1.2}
            axes.hlines(chance, place - 0.35, place + 0.35, label=label, **line)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, loc="best")
    set_methods(axes, methods)
    set_unit(axes, metric.unit)
