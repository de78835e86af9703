"""Thumbnails of a page: one sheet of those that it shows, each once."""

import base64
import io
from math import ceil, sqrt
from pathlib import Path

from PIL import Image

from solo_bayesncl.errors import InputError
from solo_bayesncl.report.run import RunReport

PX = 48


class Sheet:
    """Collects the tiles of runs that a page shows.

    Runs that are evaluated on the same images share their tiles.
    """

    def __init__(self) -> None:
        self._places: dict[tuple, int] = {}
        self._of_runs: dict[Path, list[tuple[dict, int, int]]] = {}

    def place(self, run: RunReport, tile: int) -> int | None:
        """Where a tile of a run's sheet is in this one; None without thumbnails."""
        record = run.dimensions["thumbnails"] if run.thumbnails else {"tiles": []}
        if not 0 <= tile < len(record["tiles"]):
            return None
        image = record["tiles"][tile]
        known = (run.evaluation.get("data"), image.get("path"), image.get("label"))
        key = known if known[1] is not None else (run.thumbnails, tile)
        if key not in self._places:
            self._places[key] = len(self._places)
            tiles = self._of_runs.setdefault(run.thumbnails, [])
            tiles.append((record, tile, self._places[key]))
        return self._places[key]

    @property
    def columns(self) -> int:
        """About as wide as high."""
        return max(1, ceil(sqrt(len(self._places))))

    def data_uri(self) -> str | None:
        """The sheet as a JPEG, None if it is empty.

        Raises:
            InputError: if the thumbnails of a run cannot be read.
        """
        if not self._places:
            return None
        rows = ceil(len(self._places) / self.columns)
        sheet = Image.new("RGB", (PX * self.columns, PX * rows))
        for path, tiles in self._of_runs.items():
            try:
                with Image.open(path) as source:
                    source = source.convert("RGB")
            except OSError as error:
                raise InputError(f"{path} is damaged: {error}. Measure the run again.") from error
            for record, tile, place in tiles:
                row, column = divmod(place, self.columns)
                sheet.paste(_tile(source, record, tile), (PX * column, PX * row))
        target = io.BytesIO()
        # 48 px are three blocks of a JPEG with halved colours: no tile bleeds into the next one
        sheet.save(target, format="JPEG", quality=85, optimize=True)
        return as_data_uri(target.getvalue(), "jpeg")


def _tile(source: Image.Image, record: dict, tile: int) -> Image.Image:
    px = record.get("px", PX)
    row, column = divmod(tile, record.get("columns", 1))
    box = (px * column, px * row, px * (column + 1), px * (row + 1))
    return source.crop(box).resize((PX, PX)) if px != PX else source.crop(box)


def as_data_uri(content: bytes, kind: str) -> str:
    """An image as the address of itself."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def file_as_data_uri(path: Path) -> str:
    """The whole sheet of a run."""
    return as_data_uri(path.read_bytes(), "png" if path.suffix.lower() == ".png" else "jpeg")
