"""Puts the results of the demo into README.md: its table, and its picture, docs/dimensions.png.

    python benchmarks/readme.py [FOLDER]

FOLDER, by default demo/comparison, is a finished comparison of SimCLR, NCL and BayesNCL. The table
replaces what is between `<!-- demo -->` and `<!-- end of demo -->`. The picture has a row per
method, with dimensions of its first seed that are drawn at random.
"""

import random
import sys
from pathlib import Path
from typing import Any

import matplotlib
from findings import Comparison, put_tables
from PIL import Image, ImageDraw, ImageFont
from tabulate import tabulate

from solo_bayesncl import files
from solo_bayesncl.report.figures.style import STYLES
from solo_bayesncl.report.formats import formatted, formatted_summary

ROOT = Path(__file__).resolve().parent.parent
README, PICTURE = ROOT / "README.md", ROOT / "docs/dimensions.png"
NAMES = {"simclr": "SimCLR", "ncl": "NCL", "bayesncl": "BayesNCL"}

# heading of a row -> metric of comparison.json
ROWS = {
    "semantic consistency": "codes.semantic_consistency",
    "the same, labels shuffled": "codes.shuffled_label_null",
    "the same, adjusted for chance": "codes.adjusted_consistency",
    "adjusted for chance, codes cut to length 3": "code_lengths.3.adjusted_consistency",
    "active dimensions per image": "codes.code_length",
    "kNN accuracy, codes": "code_lengths.as_trained.knn",
    "kNN accuracy, codes cut to length 3": "code_lengths.3.knn",
    "kNN accuracy, backbone": "accuracy.knn_backbone",
}

DIMENSIONS = 6  # in a row
SIDE = 3  # of a dimension's square of top images
GAP, CAPTION = 24, 40  # px between squares, and of the line below them
MARGIN = 170  # px left of the squares, for the name of the method
INK = "#7d858f"  # legible on white and on near-black


def results(comparison: Comparison) -> str:
    """A column per method: mean ± standard deviation over seeds."""
    units = {metric["key"]: metric["unit"] for metric in comparison["metrics"]}
    seeds = len(comparison["seeds"])
    rows = [
        [heading]
        + [
            formatted_summary(comparison["summary"][method][key], units[key], seeds, False)
            for method in NAMES
        ]
        for heading, key in ROWS.items()
    ]
    return tabulate(rows, ["", *NAMES.values()], tablefmt="github", disable_numparse=True)


def picture(folder: Path) -> Image.Image:
    """A row per method: random dimensions, their top images and, below, their consistency.

    Transparent, so that it can be read on a light and on a dark page.
    """
    rows = {method: squares(folder / "runs" / method) for method in NAMES}
    side = rows["ncl"][0][0].width
    height = side + CAPTION
    sheet = Image.new("RGBA", (MARGIN + DIMENSIONS * (side + GAP) - GAP, len(rows) * height))
    draw = ImageDraw.Draw(sheet)
    for top, (method, row) in zip(range(0, sheet.height, height), rows.items(), strict=True):
        draw.text((0, top + side // 2), NAMES[method], STYLES[method].color, _font(28), anchor="lm")
        for number, (square, caption) in enumerate(row):
            left = MARGIN + number * (side + GAP)
            sheet.paste(square, (left, top))
            middle = left + side // 2, top + side + CAPTION // 2 - 4
            draw.text(middle, caption, INK, _font(20), anchor="mm")
    return sheet.quantize(method=Image.Quantize.FASTOCTREE)


def squares(folder: Path) -> list[tuple[Image.Image, str]]:
    """Top images and consistency of random live dimensions of a method's first seed."""
    record = min(folder.glob("seed-*/dimensions.json"), key=_seed)
    content = files.read_json(record)
    sheet = content["thumbnails"]
    with Image.open(record.with_name(sheet["file"])) as sprite:
        live = [row for row in content["dimensions"] if row["support"]]
        drawn = random.Random(0).sample(live, DIMENSIONS)
        return [
            (_square(sprite, sheet, row["top"]), formatted(row["consistency"], "share"))
            for row in drawn
        ]


def _seed(record: Path) -> int:
    return int(record.parent.name.removeprefix("seed-"))


def _square(sprite: Image.Image, sheet: dict[str, Any], top: list[list]) -> Image.Image:
    px, columns = sheet["px"], sheet["columns"]
    square = Image.new("RGBA", (SIDE * px, SIDE * px))
    for place, (tile, _) in enumerate(top[: SIDE**2]):
        left, above = tile % columns * px, tile // columns * px
        image = sprite.crop((left, above, left + px, above + px))
        square.paste(image, (place % SIDE * px, place // SIDE * px))
    return square


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans-Bold.ttf", size)


def update(readme: Path, image: Path, folder: Path) -> None:
    """Puts the table into the README and writes the picture."""
    comparison = files.read_json(folder / "comparison.json")
    put_tables(readme, {"demo": results(comparison)})
    picture(folder).save(image, optimize=True)


if __name__ == "__main__":
    update(README, PICTURE, Path(sys.argv[1] if len(sys.argv) > 1 else "demo/comparison"))
