"""Figures as SVG: files, and elements of the page."""

import html
import io
import re

import matplotlib
from matplotlib.figure import Figure

from solo_bayesncl.report.figures.style import GRID, INK, MUTED, RC


def svg_of(figure: Figure, salt: str) -> str:
    """SVG whose identifiers depend on the content and `salt` alone, without a date."""
    target = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({**RC, "svg.hashsalt": salt}):
        figure.savefig(target, format="svg", dpi=200, metadata=nothing, transparent=True)
    return target.getvalue()


def inline_svg(figure: Figure, title: str, salt: str) -> str:
    """An SVG element in the page's size, font and colours."""
    svg = svg_of(figure, salt)
    described = f'<svg role="img" aria-label="{html.escape(title)}" '
    svg = svg[svg.index("<svg") :].replace("<svg ", described, 1)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    # identifiers that nothing refers to would occur again in the next panel
    used = set(re.findall(r"#([\w.-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
    svg = re.sub(r' width="[^"]*pt" height="[^"]*pt"', "", svg, count=1)
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    for color, variable in ((INK, "ink"), (MUTED, "muted"), (GRID, "grid")):
        svg = svg.replace(color, f"var(--{variable})")
    return re.sub(r"\n\s*", "\n", svg)
