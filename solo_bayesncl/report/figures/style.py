"""Style of the panels: colours, the look of each method, axes."""

from collections.abc import Callable, Iterable, Sequence
from itertools import cycle
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from solo_bayesncl.report.formats import MINUS, PERCENT
from solo_bayesncl.text import printable

INK, MUTED, GRID = "#1b1f24", "#57606a", "#d8dce2"

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


class Panel(NamedTuple):
    """One pair of axes: its title, what draws it, and what its numbers mean, shown on hover."""

    title: str
    draw: Callable[[Axes], None]
    meaning: str = ""


class MethodStyle(NamedTuple):
    """The look of a method in every panel; markers differ too, for print without colours."""

    color: str
    marker: str
    line: str

    @property
    def glyph(self) -> str:
        """The marker as text, for legends of the page."""
        return GLYPHS[self.marker]


GLYPHS = dict(zip("os^DvPX<>ph*", "●■▲◆▼✚✖◄►⬟⬢★", strict=True))


# Okabe and Ito's colours as far as they are seen on white and on near-black (contrast 3 : 1)
STYLES = {
    "simclr": MethodStyle("#0072b2", "o", "-"),
    "ncl": MethodStyle("#009e73", "s", "--"),
    "bayesncl": MethodStyle("#d55e00", "^", "-"),
    "ncl_topk": MethodStyle("#b8609a", "D", "-."),
    "bayesncl_gs": MethodStyle("#96751a", "v", ":"),
}
# of other methods
OTHERS = (
    MethodStyle("#77808c", "P", "--"),
    MethodStyle("#7f62d6", "X", "-"),
    MethodStyle("#0c8ea0", "<", "-."),
    MethodStyle("#c9304f", ">", "--"),
    MethodStyle("#74851c", "p", ":"),
    MethodStyle("#a5603a", "h", "-"),
    MethodStyle("#4c74d9", "*", "-."),
)


def styles(labels: Iterable[str]) -> dict[str, MethodStyle]:
    """Style of each method: its own for the known ones, the next free one for others."""
    labels = list(dict.fromkeys(labels))
    unused = (style for method, style in STYLES.items() if method not in labels)
    free = cycle((*unused, *OTHERS))
    return {label: STYLES.get(label) or next(free) for label in labels}


def literal(name: str) -> str:
    """A name as it is: matplotlib would typeset text between two dollars as mathematics.

    Control characters, which no font and no SVG has, become escapes.
    """
    return printable(name).replace("$", r"\$")


def percent_ticks(unit: str) -> FuncFormatter:
    """Ticks in percent for values in a unit of `PERCENT`."""
    return FuncFormatter(lambda value, _: f"{PERCENT[unit] * value:.4g} %".replace("-", MINUS))


def set_unit(axes: Axes, unit: str) -> None:
    """Shows the unit in the ticks or the label of the y-axis."""
    if unit in PERCENT:
        axes.yaxis.set_major_formatter(percent_ticks(unit))
    elif unit == "nats":
        axes.set_ylabel("nats")


def set_methods(axes: Axes, methods: Sequence[str]) -> None:
    """The x-axis has a place for each method."""
    axes.set_xticks(range(len(methods)), [literal(method) for method in methods])
    if len(methods) > 4 or max(map(len, methods)) > 10:
        for label in axes.get_xticklabels():
            label.set(rotation=35, horizontalalignment="right", rotation_mode="anchor")
    axes.set_xlim(-0.6, len(methods) - 0.4)
    axes.grid(visible=False, axis="x")
