"""Dimensions that the page of a comparison shows with their images, a row for each method."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from solo_bayesncl.report.catalogue import DimensionField
from solo_bayesncl.report.formats import MISSING, formatted
from solo_bayesncl.report.run import RunReport
from solo_bayesncl.report.sheet import Sheet

SHOWN = 8
# of "best" and "worst": with fewer images, the highest value is a matter of luck
LEAST_SUPPORT = 9
# share of the images from which a dimension is described by being active, not by a class
NEARLY_ALL = 0.9
SEED = 0
RANKED_BY = ("adjusted_consistency", "consistency", "monosemanticity")

Row = dict[str, Any]  # a dimension of `dimensions.json`


@dataclass(frozen=True)
class Tile:
    """A thumbnail: its place in the page's sheet, and what it shows."""

    place: int
    title: str


@dataclass(frozen=True)
class Dimension:
    """One dimension.

    Attributes:
        index: of the dimension.
        words: what it stands for.
        number: name of the number that the words give, the key of its meaning.
        share: that number in 0..1 for a bar, None without one.
        details: its other numbers and classes, one a line.
        tiles: its images, strongest first.
    """

    index: int
    words: str
    number: str
    share: float | None
    details: str
    tiles: list[Tile]


@dataclass(frozen=True)
class MethodRow:
    """The dimensions of a method that a page shows.

    Attributes:
        label: of the method.
        note: seed and number of live dimensions.
        choices: name of the choice -> its dimensions, from the highest rank to the lowest.
    """

    label: str
    note: str
    choices: dict[str, list[Dimension]]


def method_row(run: RunReport, fields: Sequence[DimensionField], sheet: Sheet) -> MethodRow:
    """The row of a run, whose thumbnails go into the sheet."""
    live = [row for row in run.rows if row["support"]]
    with_images = [row for row in live if row.get("top")]
    key = _ranked_by(live)
    chosen = random.Random(SEED).sample(with_images, min(SHOWN, len(with_images)))
    ranked = _ranked(
        [
            row
            for row in with_images
            if row["support"] >= LEAST_SUPPORT and row.get(key) is not None
        ],
        key,
    )
    choices = {
        "random": _ranked(chosen, key),
        "best": ranked[:SHOWN],
        "worst": ranked[-SHOWN:],
    }
    return MethodRow(
        run.label,
        _note(run, len(live)),
        {
            name: [_dimension(run, row, fields, sheet) for row in rows]
            for name, rows in choices.items()
        },
    )


def choices_of(runs: Sequence[RunReport]) -> dict[str, str]:
    """Name of a choice -> what the page calls it."""
    alike = _ranked_by([row for run in runs for row in run.rows]) == "monosemanticity"
    if alike:
        best, worst = "images most alike", "images least alike"
    else:
        best, worst = "most consistent", "least consistent"
    return {"random": "random", "best": best, "worst": worst}


def _ranked_by(rows: Sequence[Row]) -> str:
    """The first key of `RANKED_BY` that any dimension has a value of."""
    known = (key for key in RANKED_BY if any(row.get(key) is not None for row in rows))
    return next(known, RANKED_BY[0])


def _ranked(rows: Sequence[Row], key: str) -> list[Row]:
    """From high to low; those without a value last, of equal ones the more frequent first."""

    def rank(row: Row) -> tuple[float, int, int]:
        value = row.get(key)
        return (float("inf") if value is None else -value, -row["support"], row["index"])

    return sorted(rows, key=rank)


def _note(run: RunReport, live: int) -> str:
    seed = "" if run.seed is None else f"seed {run.seed}, "
    return f"{seed}{live} of {len(run.rows)} dimensions live"


def _dimension(
    run: RunReport, row: Row, fields: Sequence[DimensionField], sheet: Sheet
) -> Dimension:
    words, number, share = _words(run, row)
    classes = run.dimensions["classes"]
    tiles = []
    for tile, activation in row["top"]:
        place = sheet.place(run, tile)
        if place is not None:
            image = run.dimensions["thumbnails"]["tiles"][tile]
            tiles.append(Tile(place, _tile_title(image, activation, classes)))
    return Dimension(row["index"], words, number, share, _details(row, fields, classes), tiles)


def _words(run: RunReport, row: Row) -> tuple[str, str, float | None]:
    """What it stands for, the number that says so and its value."""
    support, share = row["support"], row.get("consistency")
    if row.get("owner") is not None and share is not None:
        name = run.dimensions["classes"][row["owner"]]
        if support == 1:
            return f"its only image is “{name}”", "consistency", share
        if support > NEARLY_ALL * (run.dimensions.get("samples") or inf):
            return f"active on {support} of {run.dimensions['samples']} images", "support", share
        return (
            f"{100 * share:.0f}\N{NO-BREAK SPACE}% of its {support} images are “{name}”",
            "consistency",
            share,
        )
    samples = run.dimensions.get("samples")
    of_all = f" of {samples}" if samples else ""
    alike = row.get("monosemanticity")
    if alike is not None:
        words = f"active on {support}{of_all} images, similarity {formatted(alike, 'number')}"
        return words, "monosemanticity", max(alike, 0.0)
    return f"active on {support}{of_all} images", "support", None


def _details(row: Row, fields: Sequence[DimensionField], classes: Sequence[str]) -> str:
    values = ((field, formatted(field.of(row), field.unit)) for field in fields)
    lines = [f"{field.label}: {value}" for field, value in values if value != MISSING]
    counts = sorted(enumerate(row["class_counts"]), key=lambda pair: (-pair[1], pair[0]))
    most = [f"{classes[label]} ({count})" for label, count in counts[:5] if count]
    if most:
        others = sum(1 for _, count in counts[5:] if count)
        lines.append(f"images: {', '.join(most)}" + (f" and {others} more" if others else ""))
    return "\n".join(lines)


def _tile_title(image: dict[str, Any], activation: float, classes: Sequence[str]) -> str:
    label, path = image.get("label"), image.get("path")
    named = isinstance(label, int) and 0 <= label < len(classes)
    text = f"{classes[label] if named else 'image'}, activation {formatted(activation, 'number')}"
    return text if path is None else f"{text}\n{path}"
