"""Folders of evaluated runs as a report reads them, computed from codes that are made up."""

import csv
import io
import json
from math import isnan
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from solo_bayesncl.comparison.sentences import highlights, sentences
from solo_bayesncl.comparison.statistics import compare
from solo_bayesncl.evaluation.lengths import AS_TRAINED, LENGTHS
from solo_bayesncl.metrics import (
    apply_cut,
    cut_threshold,
    mutual_information,
    per_dimension,
    summary,
)

METHODS = ("simclr", "ncl", "bayesncl")
SEEDS = (0, 1)
SPECIAL = '<b>"&é'
CLASSES = ("circle", "square", SPECIAL, "cross", "ring", "bar")
PX, COLUMNS = 48, 20
# of the dimensions of a method: how much likelier their class makes them active, share of dead
PURITY = {"simclr": 1.0, "ncl": 4.0, "bayesncl": 14.0}
DEAD = {"simclr": 0.0, "ncl": 0.1, "bayesncl": 0.2}


def build_runs(
    root: Path,
    methods: tuple[str, ...] = METHODS,
    seeds: tuple[int, ...] = SEEDS,
    dims: int = 40,
    classes: tuple[str, ...] = CLASSES,
    samples: int = 240,
) -> list[Path]:
    """Writes a run's folder per method and seed; returns them, seeds of a method together."""
    folders = []
    for method in methods:
        for seed in seeds:
            folder = root / method / f"seed{seed}"
            folder.mkdir(parents=True)
            build_run(folder, method, seed, dims, classes, samples)
            folders.append(folder)
    return folders


def build_run(
    folder: Path, method: str, seed: int, dims: int, classes: tuple[str, ...], samples: int
) -> None:
    rng = np.random.default_rng([seed, len(method)])
    labels = np.arange(samples) % len(classes)
    before, gates = _codes(rng, method, labels, dims, len(classes))
    gated = gates is not None
    codes = before * gates if gated else before
    rows, tiles = _dimensions(rng, before, gates, codes, labels, len(classes))
    record = {
        "method": method,
        "classes": list(classes),
        "class_samples": np.bincount(labels, minlength=len(classes)).tolist(),
        "samples": samples,
        "thumbnails": {"file": "thumbnails.jpg", "px": PX, "columns": COLUMNS, "tiles": tiles},
        "dimensions": rows,
    }
    _thumbnails(rng, [tile["label"] for tile in tiles]).save(folder / "thumbnails.jpg", quality=85)
    write(folder / "dimensions.json", record)
    evaluation = _evaluation(rng, method, seed, rows, gated, dims, samples)
    best = evaluation["accuracy"]["knn_codes"]
    evaluation["code_lengths"] = _code_lengths(torch.tensor(codes), torch.tensor(labels), best)
    write(folder / "evaluation.json", evaluation)
    write(folder / "args.json", _settings(method, seed))
    (folder / "metrics.csv").write_text(_curves(rng, method, gated))


def write(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _codes(rng, method, labels, dims, num_classes):
    """(projections, gates or None): a dimension is likelier active on its own class."""
    owner = rng.integers(num_classes, size=dims)
    base = rng.beta(1.2, 8, size=dims)
    odds = (base / (1 - base))[None, :] * np.where(
        labels[:, None] == owner[None, :], PURITY[method], 1.0 if method == "simclr" else 0.4
    )
    active = rng.random((len(labels), dims)) < odds / (1 + odds)
    if method == "simclr":
        active[:] = True
    active[:, rng.random(dims) < DEAD[method]] = False
    projections = active * rng.gamma(2, 0.15, size=active.shape)
    if method != "bayesncl":
        return projections, None
    common = active.mean(axis=0)
    open_rate = np.clip(0.95 - 1.6 * common + rng.normal(0, 0.08, dims), 0.02, 1)
    return projections, rng.random(active.shape) < open_rate


def _dimensions(rng, before, gates, codes, labels, num_classes):
    """(rows, tiles): the tiles are the images that any dimension shows."""
    table = per_dimension(torch.tensor(codes), torch.tensor(labels), num_classes)
    tiles, place, rows = [], {}, []
    # one that goes with the class and one that goes with nothing
    levels = {"background": labels % 2, "cost in $": rng.integers(5, size=len(labels))}
    information = {
        factor: mutual_information(torch.tensor(before), torch.tensor(of)).tolist()
        for factor, of in levels.items()
    }
    for index in range(codes.shape[1]):
        row = {name: column[index].tolist() for name, column in table.items()}
        row = {k: None if isinstance(v, float) and isnan(v) else v for k, v in row.items()}
        row |= {"index": index, "projection_density": None, "open_rate": None, "top": []}
        row["owner"] = None if row["owner"] < 0 else row["owner"]
        row["information"] = {factor: column[index] for factor, column in information.items()}
        noisy = (row["consistency"] or 0) * 0.6 + rng.normal(0.3, 0.04)
        row["monosemanticity"] = noisy if row["support"] > 1 else None
        if gates is not None:
            row["projection_density"] = float((before[:, index] > 0).mean())
            row["open_rate"] = float(gates[:, index].mean())
        for sample in map(
            int, np.argsort(-codes[:, index], kind="stable")[: min(9, row["support"])]
        ):
            if sample not in place:
                place[sample], label = len(tiles), int(labels[sample])
                tiles.append({"path": f"val/{label}/{sample:04}.png", "label": label})
            row["top"].append([place[sample], round(float(codes[sample, index]), 4)])
        rows.append(row)
    return rows, tiles


def _thumbnails(rng, labels) -> Image.Image:
    """Shapes: the label chooses the shape, chance the colours."""
    height = PX * max(1, -(-len(labels) // COLUMNS))
    sheet = Image.new("RGB", (PX * COLUMNS, height))
    for number, label in enumerate(labels):
        x, y = PX * (number % COLUMNS), PX * (number // COLUMNS)
        dark, light = (tuple(map(int, rng.integers(*span, 3))) for span in ((20, 110), (140, 250)))
        draw = ImageDraw.Draw(sheet)
        draw.rectangle((x, y, x + PX - 1, y + PX - 1), fill=dark)
        box = (x + 9, y + 9, x + PX - 10, y + PX - 10)
        shape = label % 6
        if shape == 0:
            draw.ellipse(box, fill=light)
        elif shape == 1:
            draw.rectangle(box, fill=light)
        elif shape == 2:
            draw.polygon((x + 24, y + 7, x + 41, y + 40, x + 7, y + 40), fill=light)
        elif shape == 3:
            draw.line((*box[:2], *box[2:]), fill=light, width=7)
            draw.line((box[0], box[3], box[2], box[1]), fill=light, width=7)
        elif shape == 4:
            draw.ellipse(box, outline=light, width=6)
        else:
            draw.rectangle((x + 5, y + 19, x + 42, y + 28), fill=light)
    return sheet


def _mean(rows: list[dict], key: str) -> float | None:
    values = [row[key] for row in rows if row[key] is not None]
    return float(np.mean(values)) if values else None


def _space(rows: list[dict], blur: float) -> dict:
    """Metrics of a space; `blur` moves them towards chance."""
    consistency = _mean(rows, "consistency")
    supports = [row["support"] for row in rows]
    return {
        "semantic_consistency": consistency * (1 - blur) + blur / 6,
        "shuffled_label_null": 0.21,
        "adjusted_consistency": _mean(rows, "adjusted_consistency") * (1 - blur),
        "weighted_consistency": consistency * (1 - blur) * 0.95,
        "semantic_entropy_sum": _mean(rows, "entropy") + blur,
        "active_dims": sum(map(bool, supports)),
        "dead_dims": sum(not support for support in supports),
        "code_length": sum(row["density"] for row in rows) * (1 + blur),
        "non_negative_ratio": 1.0,
        "activation_sparsity": 1 - _mean(rows, "density") * (1 + blur / 2),
        "effective_rank": 21.7,
        "orthogonality_mean": 0.00042,
        "orthogonality_mean_abs_cosine": 0.112,
        "monosemanticity": _mean(rows, "monosemanticity"),
        "monosemanticity_chance": 0.35,
        "mean_average_precision": None,
    }


def _evaluation(rng, method, seed, rows, gated, dims, samples) -> dict:
    spaces = {"backbone": _space(rows, 0.6), "codes": _space(rows, 0)}
    if gated:
        spaces["projections"] = _space(rows, 0.3)
        open_rate = _mean(rows, "open_rate")
        spaces["gate"] = {
            **_space(rows, 0.4),
            "mean_open_probability": open_rate + 0.05,
            "open_rate": open_rate,
        }
    quality = METHODS.index(method) + rng.normal(0, 0.3)
    kept = [k for k in (8, 16, 32, 64, 128, 256, 512, 1024) if k < dims] + [dims]
    gain = [1 - 0.6 / (1 + n) for n in range(len(kept))]
    mutual = {
        "codes": {"mutual_information_mean": 0.02 * (3 - quality), "mutual_information_max": 0.4}
    }
    if gated:
        mutual["projections"] = {"mutual_information_mean": 0.09, "mutual_information_max": 0.6}
    return {
        "method": method,
        "name": f"{method}-shapes",
        "checkpoint": f"{method}.ckpt",
        "epoch": 19,
        "optimizer_steps": 200,
        "data": "shapes/val",
        "seed": seed,
        "samples": samples,
        **spaces,
        "accuracy": {
            "online_classifier": 80 + 2 * quality,
            "knn_backbone": 78 + 1.5 * quality,
            "knn_codes": 70 + 3 * quality,
            "linear_backbone": 82 + quality,
            "probe_codes": 74 + 3 * quality,
        },
        "feature_selection": {
            str(k): (74 + 3 * quality) * g for k, g in zip(kept, gain, strict=True)
        },
        "retrieval": {
            str(k): {"precision_at_1": (0.6 + 0.05 * quality) * g, "precision_at_3": 0.5 * g}
            for k, g in zip(kept, gain, strict=True)
        },
        "factors": {
            "background": {"kind": "categorical", "levels": 4, **mutual},
            "cost in $": {"kind": "binned", "levels": 5, **mutual},
        },
        "versions": {"python": "3.11.7", "torch": "2.9.0"},
    }


def _code_lengths(codes: torch.Tensor, labels: torch.Tensor, best: float) -> dict[str, dict]:
    """The metrics of the codes at each length; accuracies approach `best` with the length."""

    def measured(codes: torch.Tensor, threshold: float | None) -> dict[str, float | None]:
        numbers = {name: float(value) for name, value in summary(codes, labels).items()}
        names = (
            "code_length", "semantic_consistency", "adjusted_consistency", "paired_dims",
            "weighted_consistency", "active_dims",
        )  # fmt: skip
        lost = 1 / (1 + numbers["code_length"])
        return {
            **{name: numbers[name] for name in names},
            "shuffled_label_null": 0.2,
            "threshold": threshold,
            "empty": float((codes == 0).all(dim=1).double().mean()),
            "knn": best * (1 - 0.4 * lost),
            "probe": best * (1 - 0.5 * lost),
        }

    as_trained = measured(codes, None)
    thresholds = {str(length): cut_threshold(codes, length) for length in LENGTHS}
    at_lengths = {
        name: measured(apply_cut(codes, t), t) if t else dict.fromkeys(as_trained)
        for name, t in thresholds.items()
    }
    return {**at_lengths, AS_TRAINED: as_trained}


def _settings(method: str, seed: int) -> dict:
    kwargs = {"temperature": 0.2, "proj_output_dim": 40}
    if method != "simclr":
        kwargs["non_neg"] = "rep_relu"
    if method == "bayesncl":
        kwargs |= {"bayesian_prior_prob": 0.8, "bayesian_kl_lambda": 3e-5, "gate_type": "STE"}
    return {
        "method": method,
        "name": f"{method}-shapes",
        "seed": seed,
        "backbone": {"name": "resnet18"},
        "method_kwargs": kwargs,
        "max_epochs": 20,
        "optimizer": {"name": "lars", "batch_size": 256, "lr": 0.4},
        "augmentations": [{"crop_size": 32, "num_crops": 2}],
        "checkpoint": {"dir": "trained_models"},
    }


def _curves(rng, method: str, gated: bool) -> str:
    rows = []
    for epoch in range(20):
        step = 10 * epoch + 9
        rows.append({"epoch": "", "step": step - 4, "train_nce_loss_step": 5.0})
        fall = np.exp(-epoch / 6)
        row = {
            "epoch": epoch,
            "step": step,
            "train_nce_loss_epoch": 3.1 + 2 * fall + rng.normal(0, 0.04),
            "semantic_consistency_codes": 0.2
            + 0.15 * METHODS.index(method) * (1 - fall)
            + rng.normal(0, 0.01),
            "val_acc1": 75 - 40 * fall + rng.normal(0, 1),
        }
        if gated:
            row["train_kl_loss_epoch"] = 30 * (1 - fall) + 4
            row["train_gate_open_rate_epoch"] = 0.9 - 0.4 * (1 - fall) + rng.normal(0, 0.01)
        rows.append(row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(k for row in rows for k in row)))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def build_comparison(folders: list[Path]) -> dict:
    """Content of `comparison.json` for runs of `build_runs`."""
    evaluations: dict[str, dict[int, dict]] = {}
    runs: dict[str, list[str]] = {}
    for folder in folders:
        evaluation = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
        evaluations.setdefault(evaluation["method"], {})[evaluation["seed"]] = evaluation
        runs.setdefault(evaluation["method"], []).append(str(folder))
    comparison = compare(evaluations)
    return {
        **comparison,
        "sentences": sentences(comparison),
        "highlights": highlights(comparison),
        "warnings": [],
        "optimizer_steps": {method: [200] * len(of) for method, of in runs.items()},
        "runs": runs,
        "settings": {},
        "versions": {"python": "3.11.7", "torch": "2.9.0"},
    }
