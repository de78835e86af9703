"""Figures of how time and memory grow, from what the benchmarks wrote.

A benchmark that measures several sizes writes a list `growth` of panels, each a dict:
`title`, `x` and `y` (labels of the axes), `sizes` (list of x) and `lines` (name -> list of y).
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from solo_bayesncl.report.figures.style import RC, STYLES


def draw_all(found: dict[str, dict], folder: Path) -> None:
    """Writes folder/NAME.svg for each benchmark that has a growth.

    Args:
        found: name -> content of bench/NAME.json.
        folder: made if it is absent.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in found.items():
        if panels := content.get("growth"):
            draw(panels, folder / f"{name}.svg")


def draw(panels: list[dict], path: Path) -> None:
    """Draws panels side by side, both axes logarithmic."""
    style = RC | {"svg.hashsalt": "solo-bayesncl"}  # the same file from the same numbers
    with pyplot.rc_context(style):
        size = (3.2 * len(panels), 2.8)
        figure, axes = pyplot.subplots(1, len(panels), figsize=size, squeeze=False)
        for each, panel in zip(axes[0], panels, strict=True):
            _draw_panel(each, panel)
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None}, facecolor="white")
        pyplot.close(figure)


def _draw_panel(axes: Axes, panel: dict) -> None:
    looks = [style for method, style in STYLES.items() if method is not None]
    for (name, values), look in zip(panel["lines"].items(), looks, strict=False):
        points = [(x, y) for x, y in zip(panel["sizes"], values, strict=True) if y is not None]
        axes.plot(*zip(*points, strict=True), label=name, color=look.color, marker=look.marker,
                  linestyle=look.line)  # fmt: skip
    axes.set(title=panel["title"], xlabel=panel["x"], ylabel=panel["y"], xscale="log", yscale="log")
    axes.set_xticks(panel["sizes"], map(str, panel["sizes"]), fontsize=7)
    axes.xaxis.set_minor_locator(NullLocator())
    # a factor of two in both directions, or what hardly changes would seem to
    drawn = [y for values in panel["lines"].values() for y in values if y is not None]
    axes.set_ylim(min(drawn) / 2, 2 * max(drawn))
    axes.yaxis.set_major_locator(
        LogLocator(subs=(1, 2, 5) if max(drawn) < 50 * min(drawn) else (1,))
    )
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.legend(fontsize=7)
