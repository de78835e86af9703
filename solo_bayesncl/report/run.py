"""The input of reports: runs, read from their folders, and a comparison of them."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from solo_bayesncl import files
from solo_bayesncl.errors import InputError
from solo_bayesncl.text import for_display


@dataclass(frozen=True)
class RunReport:
    """The parts of a run that reports show.

    Attributes:
        label: heading of the run's method, such as "bayesncl"; seeds of a method share it.
        seed: of the run.
        evaluation: content of `evaluation.json`.
        dimensions: content of `dimensions.json`, None if there is none.
        thumbnails: the file of the sheet of thumbnails, None if there is none.
        curves: name -> [(epoch, value), ...] of `metrics.csv`.
        settings: content of `args.json`.
    """

    label: str
    seed: int | None
    evaluation: dict[str, Any]
    dimensions: dict[str, Any] | None = None
    thumbnails: Path | None = None
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def heading(self) -> str:
        """Its label and its seed."""
        return self.label if self.seed is None else f"{self.label}, seed {self.seed}"

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row per dimension of the codes, none without `dimensions.json`."""
        return self.dimensions["dimensions"] if self.dimensions else []

    @property
    def gated_rows(self) -> list[dict[str, Any]]:
        """Rows of the dimensions that are active on any sample before the gate."""
        return [
            row
            for row in self.rows
            if row.get("projection_density") and row.get("open_rate") is not None
        ]

    def curve(self, column: str) -> list[tuple[int, float]]:
        """(epoch, value) pairs of a column, or of its means over epochs where it has both."""
        return self.curves.get(f"{column}_epoch") or self.curves.get(column) or []

    @classmethod
    def read(
        cls, folder: Path, label: str | None = None, record: Path | None = None
    ) -> "RunReport":
        """Reads an evaluated run.

        Args:
            folder: the folder of its evaluation.
            label: heading of the run's method, by default the method's name.
            record: the folder of its settings and curves, by default the same.

        Raises:
            InputError: if `args.json` or `evaluation.json` is missing or a file is damaged.
        """
        record = record or folder
        settings = _read_json(record / "args.json", "It is not the folder of a run.")
        path = folder / "evaluation.json"
        evaluation = _read_json(path, f"Measure the run first: solo-bayesncl evaluate {folder}")
        if not (isinstance(evaluation.get("codes"), dict) and evaluation.get("method")):
            raise InputError(
                f"{path} does not hold an evaluation (no method or no codes). "
                f"Measure the run again: solo-bayesncl evaluate {folder}"
            )
        dimensions = _read_dimensions(folder / "dimensions.json")
        return cls(
            label=label or evaluation["method"],
            seed=evaluation.get("seed"),
            evaluation=evaluation,
            dimensions=dimensions,
            thumbnails=_thumbnails(folder, dimensions),
            curves=_read_curves(record / "metrics.csv"),
            settings=settings,
        )


Runs = Sequence[RunReport]
Comparison = dict[str, Any]  # content of `comparison.json`


def by_label(runs: Iterable[RunReport]) -> dict[str, list[RunReport]]:
    """The runs (seeds) of each method, in the order given."""
    groups: dict[str, list[RunReport]] = {}
    for run in runs:
        groups.setdefault(run.label, []).append(run)
    return groups


def factors_of(runs: Iterable[RunReport]) -> list[str]:
    """Factors that dimensions of any of these runs have information on."""
    rows = (row for run in runs for row in run.rows)
    return list(dict.fromkeys(factor for row in rows for factor in row.get("information", {})))


def _read_json(path: Path, missing: str) -> dict[str, Any]:
    content = files.read_json(path)
    if content is None:
        raise InputError(f"{path} does not exist. {missing}")
    return for_display(content)


def _read_dimensions(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    content = _read_json(path, "")
    rows, classes = content.get("dimensions"), content.get("classes")
    needed = {"index", "support", "class_counts"}
    if not (
        isinstance(rows, list)
        and isinstance(classes, list)
        and all(isinstance(row, dict) and needed <= row.keys() for row in rows)
        and all(isinstance(row["class_counts"], list) for row in rows)
        and all(len(row["class_counts"]) == len(classes) for row in rows)
        and all(isinstance(row.get("information", {}), dict) for row in rows)
    ):
        raise InputError(
            f"{path} is damaged: it needs classes, and dimensions with "
            f"{', '.join(sorted(needed))} each. Measure the run again."
        )
    return content


def _thumbnails(folder: Path, dimensions: dict[str, Any] | None) -> Path | None:
    """The sheet; a name from the record never leads out of the folder."""
    sheet = (dimensions or {}).get("thumbnails") or {}
    path = folder / Path(sheet.get("file", "thumbnails.jpg")).name
    return path if sheet.get("tiles") and path.is_file() else None


def _read_curves(path: Path) -> dict[str, list[tuple[int, float]]]:
    """The last value of every epoch for each column."""
    if not path.exists():
        return {}
    curves: dict[str, dict[int, float]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if not row.get("epoch"):
                    continue
                for name, cell in row.items():
                    if name not in ("epoch", "step") and cell and math.isfinite(float(cell)):
                        curves.setdefault(name, {})[int(row["epoch"])] = float(cell)
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{path} is damaged: {error}.") from error
    return {name: sorted(values.items()) for name, values in curves.items()}
