"""What single dimensions mean: a table of all of them, the images that activate them, one image."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from solo_bayesncl import files, metrics
from solo_bayesncl.errors import InputError
from solo_bayesncl.evaluation import Outputs, Subject, encoded, of_folders
from solo_bayesncl.transforms import SIZES, evaluation_transform, untransformed

TOP_IMAGES = 9
THUMBNAIL_PX = 48
THUMBNAIL_COLUMNS = 32


@dataclass(frozen=True)
class Explanation:
    """Every dimension of a model's codes.

    Attributes:
        table: what `dimensions.json` holds; see docs/metrics.md for the numbers.
        thumbnails: one image with all tiles that the table refers to.
    """

    table: dict[str, Any]
    thumbnails: Image.Image

    def write(self, folder: Path) -> None:
        """Writes `dimensions.json`, `dimensions.csv` and `thumbnails.jpg`."""
        sprite = io.BytesIO()
        self.thumbnails.save(sprite, format="JPEG", quality=90)
        files.write_bytes(folder / "thumbnails.jpg", sprite.getvalue())
        files.write_csv(folder / "dimensions.csv", self.rows())
        files.write_json(folder / "dimensions.json", self.table, indent=None)

    def rows(self) -> list[dict[str, Any]]:
        """A row per dimension: its numbers, then its active images of each class."""
        classes = self.table["classes"]
        rows = []
        for dimension in self.table["dimensions"]:
            row = {k: v for k, v in dimension.items() if k not in ("class_counts", "top")}
            if row["owner"] is not None:
                row["owner"] = classes[row["owner"]]
            counts = zip(classes, dimension["class_counts"], strict=True)
            rows.append(row | {f"images of {name}": count for name, count in counts})
        return rows


def explain(subject: Subject) -> Explanation:
    """The table of a model's dimensions, measured on its validation split."""
    val = subject.val
    order, activations = _most_activating(val.codes)
    shown = sorted(set(order[activations > metrics.ACTIVE].tolist()))
    tile = {sample: position for position, sample in enumerate(shown)}
    columns = _columns(subject)
    dimensions = []
    for index, (samples, values) in enumerate(zip(order.tolist(), activations, strict=True)):
        active = [
            [tile[sample], round(value, 4)]
            for sample, value in zip(samples, values.tolist(), strict=True)
            if value > metrics.ACTIVE
        ]
        row = {name: column[index] for name, column in columns.items()}
        dimensions.append({"index": index, **row, "top": active})
    table = {
        "method": subject.run.cfg.method,
        "samples": len(val.labels),
        "classes": list(subject.classes),
        "class_samples": val.labels.bincount(minlength=len(subject.classes)).tolist(),
        "thumbnails": {
            "file": "thumbnails.jpg",
            "px": THUMBNAIL_PX,
            "columns": THUMBNAIL_COLUMNS,
            "tiles": [
                {"path": _name(subject.images, sample), "label": int(val.labels[sample])}
                for sample in shown
            ],
        },
        "dimensions": dimensions,
    }
    return Explanation(files.plain(table), _sprite(subject.images, shown))


def _most_activating(codes: Tensor) -> tuple[Tensor, Tensor]:
    """(D, up to 9) samples of largest activation and their values, in descending order."""
    ranked = codes.sort(dim=0, descending=True, stable=True)
    return ranked.indices[:TOP_IMAGES].T, ranked.values[:TOP_IMAGES].T


def _columns(subject: Subject) -> dict[str, list]:
    """Name -> a value per dimension."""
    val = subject.val
    statistics = metrics.per_dimension(val.codes, val.labels, len(subject.classes))
    class_counts = statistics.pop("class_counts").tolist()
    columns = {name: _rounded(column) for name, column in statistics.items()}
    columns["owner"] = [None if owner < 0 else owner for owner in columns["owner"]]
    score = metrics.monosemanticity(val.codes, subject.embeddings)
    columns["monosemanticity"] = _rounded(score.per_dimension)
    nothing = [None] * val.codes.size(1)
    columns["projection_density"] = columns["open_rate"] = nothing
    if val.mask is not None:
        active = val.projections.abs() > metrics.ACTIVE
        columns["projection_density"] = _rounded(active.double().mean(dim=0))
        columns["open_rate"] = _rounded((val.mask > 0).double().mean(dim=0))
    return {**columns, "class_counts": class_counts}


def _rounded(column: Tensor) -> list:
    """Plain numbers of six places: what can be read, and the same on every machine."""
    values = column.tolist()
    return [round(v, 6) for v in values] if column.is_floating_point() else values


def _name(images: Dataset, sample: int) -> str:
    """An image's path from the folder above the split's, or its number in a data set."""
    samples = getattr(images, "samples", None)
    if samples is None:
        return f"{sample}"
    return Path(samples[sample][0]).relative_to(Path(images.root).parent).as_posix()


def _sprite(images: Dataset, samples: list[int]) -> Image.Image:
    """Square thumbnails in rows of 32; small images keep their pixels."""
    px, rows = THUMBNAIL_PX, max(1, -(-len(samples) // THUMBNAIL_COLUMNS))
    sprite = Image.new("RGB", (px * THUMBNAIL_COLUMNS, px * rows))
    images = untransformed(images)
    for position, sample in enumerate(samples):
        image = images[sample][0].convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        method = Image.Resampling.NEAREST if side < px else Image.Resampling.LANCZOS
        square = image.crop((left, top, left + side, top + side)).resize((px, px), method)
        row, column = divmod(position, THUMBNAIL_COLUMNS)
        sprite.paste(square, (px * column, px * row))
    return sprite


@torch.no_grad()
def describe_image(subject: Subject, path: Path) -> Outputs:
    """What the model says of one image file.

    Returns:
        Outputs with one row; its label is -1.

    Raises:
        InputError: if the file is not an image.
    """
    try:
        image = Image.open(path).convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"--image {path} cannot be read as an image: {error}.") from error
    cfg = subject.run.cfg
    size = SIZES.get(cfg.data.dataset)
    if image.size != (size, size):
        cfg = of_folders(cfg)
    transform = evaluation_transform(cfg.data.dataset, cfg.augmentations[0])
    device = next(subject.model.parameters()).device
    out = subject.model(transform(image).unsqueeze(0).to(device))
    found = {"feats": out["feats"], "logits": out["logits"], **vars(encoded(subject.model, out))}
    found = {name: value.float().cpu() for name, value in found.items() if value is not None}
    return Outputs(**found, labels=torch.tensor([-1]))
