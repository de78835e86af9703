"""Figures as SVG: files, and elements of the page."""

import html
import io
import re

import matplotlib
from matplotlib.figure import Figure

from solo_bayesncl.report.figures.style import GRID, INK, MUTED, RC
from solo_bayesncl.text import printable

TAG = "<[^>]+>"


def svg_of(figure: Figure, salt: str) -> str:
    """SVG whose identifiers depend on the content and `salt` alone, without a date."""
    target = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({**RC, "svg.hashsalt": salt}):
        figure.savefig(target, format="svg", dpi=200, metadata=nothing, transparent=True)
    return target.getvalue()


def inline_svg(figure: Figure, title: str, salt: str, meaning: str = "") -> str:
    """An SVG element in the page's size, font and colours; `meaning` is shown on hover."""
    svg = svg_of(figure, salt)
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    # identifiers that nothing refers to would occur again in the next panel
    used = {name for tag in re.findall(TAG, svg) for name in re.findall(r"#([\w.-]+)", tag)}
    svg = re.sub(r' width="[^"]*pt" height="[^"]*pt"', "", svg, count=1)
    svg = re.sub(TAG, lambda tag: _in_page(tag[0], used), svg)
    described = f'<svg role="img" aria-label="{html.escape(printable(title))}" '
    svg = re.sub(r"\n\s*", "\n", svg).replace("<svg ", described, 1)
    if meaning:
        svg = svg.replace(">", f"><title>{html.escape(meaning)}</title>", 1)
    return svg


def _in_page(tag: str, used: set[str]) -> str:
    """A tag with the page's font and colours, and no unused identifiers; text is not touched."""
    tag = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", tag)
    tag = re.sub(r"font-family: [^;\"]*;?", "", tag)
    for color, variable in ((INK, "ink"), (MUTED, "muted"), (GRID, "grid")):
        tag = tag.replace(color, f"var(--{variable})")
    return tag
