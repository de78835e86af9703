"""The table of a publication's printed results beside those of a comparison."""

from solo_bayesncl.report.formats import formatted, formatted_difference, formatted_summary
from solo_bayesncl.report.run import Comparison

COLUMNS = ("metric", "method", "printed", "ours", "ours − printed")


def printed_caption(comparison: Comparison) -> str:
    """Title of the table of `printed_rows`."""
    return f"Beside the printed results of {comparison['printed']['source']}"


def printed_rows(comparison: Comparison) -> list[list[str]]:
    """Cells under `COLUMNS`, a row for each printed value; none where nothing is printed."""
    return [
        [
            row["label"],
            row["method"],
            formatted(row["printed"], row["unit"]),
            formatted_summary(row, row["unit"], len(comparison["seeds"])),
            formatted_difference(row["difference"], row["unit"]),
        ]
        for row in (comparison.get("printed") or {}).get("rows", [])
    ]


def printed_cells(comparison: Comparison) -> dict[tuple[str, str], dict[str, float | None]]:
    """Columns of `comparison.csv` by metric and method."""
    return {
        (row["metric"], row["method"]): {
            "printed": row["printed"],
            "difference from printed": row["difference"],
        }
        for row in (comparison.get("printed") or {}).get("rows", [])
    }
