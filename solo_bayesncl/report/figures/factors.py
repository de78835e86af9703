"""What codes tell about known factors of the images, before and after the gate."""

from collections.abc import Iterator
from functools import partial

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from solo_bayesncl.report.catalogue import Entry
from solo_bayesncl.report.figures.style import INK, MUTED, Panel, set_methods, styles
from solo_bayesncl.report.run import Comparison, Runs, by_label

SPACES = ("projections", "codes")

# (method, space) -> a value of each seed that has one
Values = dict[tuple[str, str], list[float]]


def factor_panels(runs: Runs, comparison: Comparison | None) -> Iterator[Panel]:
    """A panel per factor."""
    groups = by_label(runs)
    for factor in dict.fromkeys(
        name for run in runs for name in run.evaluation.get("factors") or {}
    ):
        values = {
            (label, space): _mutual_information(group, factor, space)
            for label, group in groups.items()
            for space in SPACES
        }
        if any(values.values()):
            yield Panel(factor, partial(_draw_factor, methods=list(groups), values=values))


def _mutual_information(runs: Runs, factor: str, space: str) -> list[float]:
    mean = Entry("mutual_information_mean", "", "nats", place=("factors", factor, space))
    values = (mean.of(run.evaluation) for run in runs)
    return [value for value in values if value is not None]


def _draw_factor(axes: Axes, methods: list[str], values: Values) -> None:
    """Outlined bars of projections and filled ones of codes, with the reach over seeds."""
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
