"""Explains dimensions: a table of all of them, the images that activate them, one image's code."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from solo_bayesncl import files, metrics
from solo_bayesncl.data.images import ImageTransform, pixel_limit, read_image
from solo_bayesncl.data.transforms import without_transform
from solo_bayesncl.evaluation.code_thresholds import threshold_of, warn_unless_reached
from solo_bayesncl.evaluation.evaluated_model import EvaluatedModel
from solo_bayesncl.evaluation.forward import Outputs, forward_images
from solo_bayesncl.text import for_display

DIMENSIONS = "dimensions.json"
FILES = (DIMENSIONS, "dimensions.csv", "thumbnails.jpg")
TOP_IMAGES = 9
THUMBNAIL_PX = 48
# a sheet of this many is 4800 px wide and high, about 10 MB
MAX_THUMBNAILS = 10_000
LEAST_COLUMNS = 32
# values ranked at once: 64 MB in float32
CHUNK_ENTRIES = 2**24


@dataclass(frozen=True)
class Explanation:
    """Every dimension of a model's codes.

    Attributes:
        table: what `dimensions.json` holds; see docs/metrics.md for the numbers.
        thumbnails: one image with all tiles that the table refers to, at most 10 000. Where
            dimensions have more images to show, each shows its strongest ones alone.
    """

    table: dict[str, Any]
    thumbnails: Image.Image

    def write(self, folder: Path) -> None:
        """Writes `FILES`."""
        table, rows, thumbnails = (folder / name for name in FILES)
        sprite = io.BytesIO()
        self.thumbnails.save(sprite, format="JPEG", quality=90)
        files.write_bytes(thumbnails, sprite.getvalue())
        files.write_csv(rows, self.rows())
        files.write_json(table, self.table, indent=None)

    def rows(self) -> list[dict[str, Any]]:
        """A row per dimension: its numbers, its information on each factor, images by class."""
        classes = self.table["classes"]
        rows = []
        for dimension in self.table["dimensions"]:
            nested = ("class_counts", "information", "top")
            row = {k: v for k, v in dimension.items() if k not in nested}
            if row["owner"] is not None:
                row["owner"] = classes[row["owner"]]
            row |= {f"information on {k}": v for k, v in dimension["information"].items()}
            counts = zip(classes, dimension["class_counts"], strict=True)
            rows.append(row | {f"images of {name}": count for name, count in counts})
        return rows


def explain(model: EvaluatedModel, code_length: float | None = None) -> Explanation:
    """The table of a model's dimensions, measured on its validation split.

    Values that are not finite count as 0: of a model that diverged, dimensions are dead and their
    gates closed. The images shown for a dimension are those of its largest positive activations.

    Args:
        model: the model.
        code_length: active entries per image that codes are cut to, on average over the training
            split; None for codes as trained.

    Raises:
        ArgumentError: for a length that is not above 0, or training codes that are not finite.
    """
    threshold = None
    if code_length is not None:
        threshold = threshold_of(model.train.codes, code_length)
        warn_unless_reached(code_length, threshold)
        if threshold > 0:
            codes = metrics.apply_cut(model.val.codes, threshold)
            model = replace(model, val=replace(model.val, codes=codes))
    val = _finite(model.val)
    order, activations = _most_activating(val.codes)
    shown = _samples_shown(order, activations)
    tile = {sample: position for position, sample in enumerate(shown)}
    columns = _columns(model, val)
    dimensions = []
    for index, (samples, values) in enumerate(zip(order.tolist(), activations, strict=True)):
        ranked = zip(samples, values.tolist(), strict=True)
        has_tile = takewhile(lambda one: one[1] > metrics.ACTIVE and one[0] in tile, ranked)
        top = [[tile[sample], round(value, 4)] for sample, value in has_tile]
        row = {name: column[index] for name, column in columns.items()}
        dimensions.append({"index": index, **row, "top": top})
    num_columns = _num_columns(len(shown))
    table = {
        "method": model.run.cfg.method,
        "samples": len(val.labels),
        "code_length": code_length,
        "code_threshold": threshold,
        "classes": list(model.classes),
        "class_samples": _class_samples(model, val),
        "thumbnails": {
            "file": "thumbnails.jpg",
            "px": THUMBNAIL_PX,
            "columns": num_columns,
            "tiles": [
                {"path": _image_name(model.images, sample), "label": _label(model, val, sample)}
                for sample in shown
            ],
        },
        "dimensions": dimensions,
    }
    with pixel_limit(model.unreadable.reading.max_pixels):
        thumbnails = _sprite(model.images, shown, num_columns)
    return Explanation(for_display(files.plain(table)), thumbnails)


def _finite(val: Outputs) -> Outputs:
    """The same with 0 in place of non-finite values of codes, projections and gates."""
    values = {name: getattr(val, name) for name in ("codes", "projections", "mask")}
    return replace(val, **{k: v.nan_to_num(0, 0, 0) for k, v in values.items() if v is not None})


def _most_activating(codes: Tensor) -> tuple[Tensor, Tensor]:
    """(D, up to 9) samples of largest activation and their values, in descending order.

    Of equal ones, those that come first, as in a stable sort of all samples, which is slower.
    """
    chunks = codes.split(max(1, CHUNK_ENTRIES // len(codes)), dim=1)
    samples, values = zip(*(_largest(chunk.T.contiguous()) for chunk in chunks), strict=True)
    return torch.cat(samples), torch.cat(values)


def _largest(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Positions and values of the largest entries of each row, in the order of a stable sort."""
    count = min(TOP_IMAGES, rows.size(1))
    # topk takes any of several equal values; only the smallest that it takes can have equals left
    smallest = rows.topk(count).values[:, -1:]
    above, equal = rows > smallest, rows == smallest
    room = count - above.sum(dim=1, keepdim=True)
    taken = above | (equal & (equal.cumsum(dim=1, dtype=torch.int32) <= room))
    positions = taken.nonzero()[:, 1].view(-1, count)
    ranked = rows.gather(1, positions).sort(dim=1, descending=True, stable=True)
    return positions.gather(1, ranked.indices), ranked.values


def _samples_shown(order: Tensor, activations: Tensor) -> list[int]:
    """Samples that get a thumbnail, in order: the first of every dimension, the second, ..."""
    chosen: dict[int, None] = {}
    for samples, values in zip(order.T, activations.T, strict=True):
        chosen |= dict.fromkeys(samples[values > metrics.ACTIVE].tolist())
    return sorted(list(chosen)[:MAX_THUMBNAILS])


def _class_samples(model: EvaluatedModel, val: Outputs) -> list[int]:
    if not model.is_labelled:
        return []
    return val.labels.bincount(minlength=len(model.classes)).tolist()


def _label(model: EvaluatedModel, val: Outputs, sample: int) -> int | None:
    return int(val.labels[sample]) if model.is_labelled else None


def _columns(model: EvaluatedModel, val: Outputs) -> dict[str, list]:
    """Name -> a value per dimension."""
    of_classes = partial(metrics.per_dimension, num_classes=max(1, len(model.classes)))
    statistics = model.on_device(of_classes, val.codes, val.labels.clamp(min=0))
    class_counts = statistics.pop("class_counts").tolist()
    columns = {name: _rounded(column) for name, column in statistics.items()}
    columns["owner"] = [None if owner < 0 else owner for owner in columns["owner"]]
    nothing = [None] * val.codes.size(1)
    if not model.is_labelled:
        of_labels = ("consistency", "adjusted_consistency", "entropy", "owner")
        columns |= dict.fromkeys(of_labels, nothing)
        class_counts = [[] for _ in nothing]
    score = model.monosemanticity.get("codes")
    columns["monosemanticity"] = nothing if score is None else _rounded(score.per_dimension)
    columns["projection_density"] = columns["open_rate"] = nothing
    if val.mask is not None:
        active = val.projections.abs() > metrics.ACTIVE
        columns["projection_density"] = _rounded(active.double().mean(dim=0))
        columns["open_rate"] = _rounded((val.mask > 0).double().mean(dim=0))
    # before the gate, so that it can be compared with the gate's open rate
    ungated = "codes" if val.mask is None else "projections"
    information = {
        name: _rounded(by_space[ungated]) if ungated in by_space else nothing
        for name, by_space in model.information.items()
    }
    columns["information"] = [
        {name: column[index] for name, column in information.items()}
        for index in range(val.codes.size(1))
    ]
    return {**columns, "class_counts": class_counts}


def _rounded(column: Tensor) -> list:
    """Plain numbers, rounded to six places so that they are the same on every machine."""
    values = column.tolist()
    return [round(v, 6) for v in values] if column.is_floating_point() else values


def _image_name(images: Dataset, sample: int) -> str:
    """An image's path from the folder above the split's, or its number in a data set."""
    samples = getattr(images, "samples", None)
    if samples is None:
        return f"{sample}"
    return Path(samples[sample][0]).relative_to(Path(images.root).parent).as_posix()


def _num_columns(num_tiles: int) -> int:
    """Columns of the sheet: about as wide as high, as a JPEG has at most 65 500 px on a side."""
    return max(LEAST_COLUMNS, ceil(sqrt(num_tiles)))


def _sprite(images: Dataset, samples: Sequence[int], columns: int) -> Image.Image:
    """Square thumbnails in rows of `columns`; small images keep their pixels."""
    px, rows = THUMBNAIL_PX, max(1, ceil(len(samples) / columns))
    sprite = Image.new("RGB", (px * columns, px * rows))
    images = without_transform(images)
    for position, sample in enumerate(samples):
        image = images[sample][0].convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        method = Image.Resampling.NEAREST if side < px else Image.Resampling.LANCZOS
        square = image.crop((left, top, left + side, top + side)).resize((px, px), method)
        row, column = divmod(position, columns)
        sprite.paste(square, (px * column, px * row))
    return sprite


def describe_image(model: EvaluatedModel, path: Path) -> Outputs:
    """Outputs of a model for one image file: one row, with the label -1.

    Raises:
        InputError: if the file is not an image.
    """
    with pixel_limit(model.unreadable.reading.max_pixels):
        image = ImageTransform(model.run.cfg)(read_image(path))
    device = next(model.model.parameters()).device
    outputs = forward_images(model.model, image.unsqueeze(0), device, model.precision)
    outputs = {name: value.cpu() for name, value in outputs.items()}
    return Outputs(**outputs, labels=torch.tensor([-1]))
