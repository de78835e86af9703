"""Mutual information with known factors of the images, before and after the gate."""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from solo_bayesncl.report.catalogue import reported_in
from solo_bayesncl.report.figures.style import INK, MUTED, Panel, set_methods, styles
from solo_bayesncl.report.run import Comparison, Runs, by_label

SPACES = ("projections", "codes")

# (method, space) -> a value of each seed that has one
Values = dict[tuple[str, str], list[float]]


def factor_panels(runs: Runs, comparison: Comparison | None) -> Iterator[Panel]:
    """A panel per factor."""
    groups = by_label(runs)
    information: dict[str, Values] = defaultdict(lambda: defaultdict(list))
    for metric in reported_in(run.evaluation for run in runs):
        if metric.name == "mutual_information_mean" and metric.place[-1] in SPACES:
            _, factor, space = metric.place
            for label, group in groups.items():
                values = (metric.of(run.evaluation) for run in group)
                information[factor][label, space] = [v for v in values if v is not None]
    for factor, values in information.items():
        yield Panel(factor, partial(_draw_factor, methods=list(groups), values=values))


def _draw_factor(axes: Axes, methods: list[str], values: Values) -> None:
    """Outlined bars for projections, filled ones for codes, with the range over seeds."""
    for place, (method, style) in enumerate(styles(methods).items()):
        spaces = [space for space in SPACES if values[method, space]]
        for number, space in enumerate(spaces):
            of_seeds = values[method, space]
            x = place + 0.36 * (number - (len(spaces) - 1) / 2)
            filled = {"color": style.color} if space == "codes" else {"facecolor": "none"}
            mean = sum(of_seeds) / len(of_seeds)
            axes.bar(x, mean, width=0.32, edgecolor=style.color, linewidth=1.2, **filled)
            if len(of_seeds) > 1:
                axes.vlines(x, min(of_seeds), max(of_seeds), color=INK, linewidth=1)
    if any(values[method, "projections"] for method in methods):
        before = Patch(facecolor="none", edgecolor=MUTED, label="projections")
        axes.legend(handles=[before, Patch(color=MUTED, label="codes")], fontsize=7)
    set_methods(axes, methods)
    axes.set_ylabel("mutual information, nats")
