"""Data of the page's dimension browser (`page.js`)."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup

from solo_bayesncl.report.catalogue import DIMENSION_FIELDS, DimensionField, information_on
from solo_bayesncl.report.run import RunReport, Runs, factors_of
from solo_bayesncl.text import for_display, printable


def fields_of(runs: Iterable[RunReport]) -> list[DimensionField]:
    """The numbers that dimensions of these runs have."""
    return [*DIMENSION_FIELDS, *map(information_on, factors_of(runs))]


def browser_json(runs: Runs, fields: Sequence[DimensionField]) -> Markup:
    """Runs with dimensions, as JSON that is safe in a script element."""
    content = {
        "fields": [
            {
                "key": field.key,
                "label": field.label,
                "unit": field.unit,
                "meaning": field.meaning,
                "onCard": field.on_card,
            }
            for field in fields
        ],
        "runs": [_run(number, run, fields) for number, run in enumerate(runs)],
    }
    content = for_display(content, printable)  # as the page's own text, `page.write_page`
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char in "<>&":  # an HTML parser could take them for the end of the element
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)


def _run(number: int, run: RunReport, fields: Sequence[DimensionField]) -> dict[str, Any]:
    sheet = run.dimensions.get("thumbnails") or {}
    return {
        "label": run.label,
        "seed": run.seed,
        "samples": run.dimensions.get("samples"),
        "classes": run.dimensions["classes"],
        "classSamples": run.dimensions.get("class_samples"),
        "sprite": f"sprite-{number}" if run.thumbnails else None,
        "columns": sheet.get("columns", 1),
        "tiles": [[tile.get("label"), tile.get("path")] for tile in sheet.get("tiles", [])],
        "dimensions": [
            {
                "index": row["index"],
                "owner": row.get("owner"),
                "values": [_short(field.of(row)) for field in fields],
                "counts": _sparse(row["class_counts"]),
                "top": [[tile, _short(value)] for tile, value in row.get("top") or []],
            }
            for row in run.rows
        ],
    }


def _sparse(counts: list[int]) -> list[list[int]]:
    """[[class, count], ...] of the classes that occur, most frequent first."""
    present = [[label, count] for label, count in enumerate(counts) if count]
    return sorted(present, key=lambda pair: -pair[1])


def _short(value: float | None) -> float | None:
    """Five digits, more than the page shows; None where it is not finite, which JSON lacks."""
    if value is None or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.5g}")
