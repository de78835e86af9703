"""Figures of a report: files for papers (`save_figures`) and panels for the page (`panel_svgs`)."""

from solo_bayesncl.report.figures.figure import (
    PANELS,
    WITH_LEGEND,
    figure_names,
    figure_of,
    panel_svgs,
    save_figures,
)

__all__ = ["PANELS", "WITH_LEGEND", "figure_names", "figure_of", "panel_svgs", "save_figures"]
