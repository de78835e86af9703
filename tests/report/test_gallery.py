"""The dimensions that a comparison's page shows, and their thumbnails."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from report_data import CLASSES, PX

from solo_bayesncl.errors import InputError
from solo_bayesncl.report.browser import fields_of
from solo_bayesncl.report.gallery import LEAST_SUPPORT, SHOWN, choices_of, method_row
from solo_bayesncl.report.run import RunReport
from solo_bayesncl.report.sheet import Sheet


@pytest.fixture
def run(reports):
    return next(run for run in reports if run.label == "bayesncl")


def shown(run, choice, sheet=None):
    return method_row(run, fields_of([run]), sheet or Sheet()).choices[choice]


def with_rows(run, **changes):
    """The run with the same change to each of its live dimensions."""
    rows = [{**row, **changes} if row["support"] else row for row in run.rows]
    return replace(run, dimensions={**run.dimensions, "dimensions": rows})


def unlabelled(run):
    nothing = dict.fromkeys(("owner", "consistency", "adjusted_consistency", "entropy"))
    tiles = [{**tile, "label": None} for tile in run.dimensions["thumbnails"]["tiles"]]
    run = with_rows(run, class_counts=[], **nothing)
    thumbnails = {**run.dimensions["thumbnails"], "tiles": tiles}
    return replace(run, dimensions={**run.dimensions, "classes": [], "thumbnails": thumbnails})


def test_random_dimensions_are_live_and_the_same_every_time(run):
    first = [dimension.index for dimension in shown(run, "random")]
    assert first == [dimension.index for dimension in shown(run, "random")]
    live = [row["index"] for row in run.rows if row["support"]]
    assert len(first) == SHOWN and set(first) < set(live)
    assert set(first) != set(live[:SHOWN])


def test_best_and_worst_are_the_ends_of_the_dimensions_of_many_images(run):
    rows = [row for row in run.rows if row["support"] >= LEAST_SUPPORT]
    assert SHOWN < len(rows) < len([row for row in run.rows if row["support"]])
    values = sorted((row["adjusted_consistency"] for row in rows), reverse=True)
    by_index = {row["index"]: row["adjusted_consistency"] for row in rows}
    assert [by_index[d.index] for d in shown(run, "best")] == values[:SHOWN]
    assert [by_index[d.index] for d in shown(run, "worst")] == values[-SHOWN:]


def test_few_dimensions_of_many_images_are_not_filled_up_with_others(run):
    frequent = [row["index"] for row in run.rows if row["support"] >= LEAST_SUPPORT][:3]
    rows = [
        row if row["index"] in frequent else {**row, "support": min(row["support"], 1)}
        for row in run.rows
    ]
    few = replace(run, dimensions={**run.dimensions, "dimensions": rows})
    for choice in ("best", "worst"):
        assert {dimension.index for dimension in shown(few, choice)} == {*frequent}


def test_label_says_what_the_dimension_stands_for(run):
    rows = {row["index"]: row for row in run.rows}
    for dimension in shown(run, "best"):
        row = rows[dimension.index]
        percent, owner = f"{100 * row['consistency']:.0f}", CLASSES[row["owner"]]
        expected = f"{percent} % of its {row['support']} images are “{owner}”"
        assert dimension.words.replace("\N{NO-BREAK SPACE}", " ") == expected
        assert dimension.share == row["consistency"]
        assert f"support: {row['support']}" in dimension.details
        assert f"{owner} ({row['class_counts'][row['owner']]})" in dimension.details


def test_label_of_one_image_gives_no_percentage(run):
    (first, *_) = shown(with_rows(run, support=1, consistency=1.0, owner=0), "random")
    assert first.words == "its only image is “circle”"


def test_label_of_a_dense_dimension_names_no_class(run):
    samples = run.dimensions["samples"]
    (first, *_) = shown(with_rows(run, support=samples - 1, owner=0), "random")
    assert first.words == f"active on {samples - 1} of {samples} images"


def test_without_labels_dimensions_are_ranked_by_how_alike_their_images_are(run):
    run = unlabelled(run)
    assert choices_of([run])["best"] == "images most alike"
    best = shown(run, "best")
    rows = {row["index"]: row for row in run.rows}
    known = [r["monosemanticity"] for r in run.rows if r["support"] >= LEAST_SUPPORT]
    assert [rows[d.index]["monosemanticity"] for d in best] == sorted(known, reverse=True)[:SHOWN]
    support = rows[best[0].index]["support"]
    assert best[0].words.startswith(f"active on {support} of 240 images, similarity 0.")


def test_runs_of_the_same_images_share_their_thumbnails(run):
    sheet = Sheet()
    first = shown(run, "best", sheet)
    again = shown(replace(run, label="other"), "best", sheet)
    assert [d.tiles for d in first] == [d.tiles for d in again]
    elsewhere = replace(run, evaluation={**run.evaluation, "data": "other/val"})
    places = {tile.place for d in first for tile in d.tiles}
    others = {tile.place for d in shown(elsewhere, "best", sheet) for tile in d.tiles}
    assert others and not places & others


def test_sheet_holds_the_thumbnails_that_are_shown_and_no_others(run):
    sheet = Sheet()
    choices = method_row(run, fields_of([run]), sheet).choices
    rows = {row["index"]: row for row in run.rows}
    content = base64.b64decode(sheet.data_uri().split(",")[1])
    picture = np.asarray(Image.open(io.BytesIO(content)), dtype=float)
    source = np.asarray(Image.open(run.thumbnails), dtype=float)
    places = {}
    for dimension in (d for dimensions in choices.values() for d in dimensions):
        for tile, (number, _) in zip(dimension.tiles, rows[dimension.index]["top"], strict=True):
            places[tile.place] = number
    assert sorted(places) == list(range(len(places)))
    assert picture.shape[0] * picture.shape[1] < PX**2 * (len(places) + sheet.columns)

    def cropped(pixels, number, columns):
        row, column = divmod(number, columns)
        return pixels[PX * row : PX * (row + 1), PX * column : PX * (column + 1)]

    columns = run.dimensions["thumbnails"]["columns"]
    for place, number in places.items():
        difference = cropped(picture, place, sheet.columns) - cropped(source, number, columns)
        assert abs(difference).mean() < 6


def test_damaged_thumbnails_are_one_message(bayesncl_run):
    (bayesncl_run / "thumbnails.jpg").write_bytes(b"no image")
    run = RunReport.read(bayesncl_run)
    sheet = Sheet()
    shown(run, "random", sheet)
    with pytest.raises(InputError, match=r"thumbnails\.jpg is damaged.*Measure the run again"):
        sheet.data_uri()
