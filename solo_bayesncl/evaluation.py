"""Codes of a trained model and everything that is measured on them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, open_dict
from rich.progress import track
from torch import Tensor, nn

import solo_bayesncl
from solo_bayesncl import config, metrics, runs
from solo_bayesncl.errors import InputError
from solo_bayesncl.hosts import host
from solo_bayesncl.objective import encode
from solo_bayesncl.transforms import evaluation_transform, statistics

RETRIEVAL_KS = (1, 3, 5, 10)
KNN_K = 20


@dataclass(frozen=True)
class Codes:
    """What a model says of one split, on the CPU.

    Attributes:
        feats: (M, F) backbone features.
        codes: (M, D) gated, normalised projections.
        logits: (M, C) of the online classifier.
        labels: (M,) int64.
        gate_probs: (M, D) posterior open-probabilities, None without a gate.
    """

    feats: Tensor
    codes: Tensor
    logits: Tensor
    labels: Tensor
    gate_probs: Tensor | None


def load_model(run: runs.Run) -> nn.Module:
    """Rebuilds the model of a run from its record and loads its weights, in evaluation mode.

    Raises:
        InputError: if the record or the weights do not fit the installed solo-learn.
    """
    solo_bayesncl.register()
    if run.cfg.get("method") not in host().method_names():
        raise InputError(
            f"{run.folder}/args.json names method {run.cfg.get('method')!r}, which {host().NAME} "
            f"does not have. It has: {', '.join(host().method_names())}."
        )
    model = host().build(run.cfg)
    runs.fill_module(model, runs.load_weights(run.checkpoint), run.checkpoint)
    return model.eval()


def codes_of(model: nn.Module, images: Tensor) -> dict[str, Tensor | None]:
    """Outputs of a method for (N, 3, H, W) images; SimCLR's code is its normalised projection."""
    out = model(images)
    if hasattr(model, "codes"):
        codes, probs = model.codes(out)
    elif "z" in out:
        codes, probs = encode(out["z"], non_neg="none")
    else:
        codes, probs = encode(out["feats"], non_neg="none")
    return {"feats": out["feats"], "codes": codes, "logits": out["logits"], "gate_probs": probs}


@torch.no_grad()
def collect(model: nn.Module, loader: Iterable, device: torch.device, what: str) -> Codes:
    """Runs a model over a labelled loader.

    Args:
        model: in evaluation mode; moved to `device`.
        loader: yields (images, labels).
        device: where to compute; the result is on the CPU.
        what: words for the progress bar.
    """
    model.to(device)
    columns: dict[str, list[Tensor]] = {}
    for images, labels in track(loader, description=what, transient=True):
        out = codes_of(model, images.to(device))
        out["labels"] = labels
        for name, value in out.items():
            if value is not None:
                columns.setdefault(name, []).append(value.float().cpu())
    joined = {name: torch.cat(values) for name, values in columns.items()}
    return Codes(
        feats=joined["feats"],
        codes=joined["codes"],
        logits=joined["logits"],
        labels=joined["labels"].long(),
        gate_probs=joined.get("gate_probs"),
    )


def labelled_loaders(cfg: DictConfig, data: Path | None, workers: int | None):
    """(train, validation) loaders of a run's data without augmentation.

    Args:
        cfg: the run's settings.
        data: folder with `train/` and `val/` to use instead of the run's own.
        workers: loader processes, by default as in training.

    Raises:
        InputError: if the run has no labelled validation images.
    """
    cfg = cfg.copy()
    with open_dict(cfg):
        crop = cfg.augmentations[0]
        crop.mean, crop.std = map(list, statistics(cfg.data.dataset, crop))
        if data is not None:
            cfg.data.train_path, cfg.data.val_path = str(data / "train"), str(data / "val")
            cfg.data.dataset, cfg.data.format, cfg.data.no_labels = "custom", "image_folder", False
        if workers is not None:
            cfg.data.num_workers = workers
        if cfg.data.get("val_path") is None or cfg.data.get("no_labels"):
            raise InputError(
                "The run has no labelled validation images. Give some with --data DIR, a folder "
                "with train/ and val/ and in each a folder per class."
            )
    for split in (cfg.data.train_path, cfg.data.val_path):
        if cfg.data.dataset not in config.DOWNLOADED and not Path(split).exists():
            origin = "of --data" if data is not None else "of the run's record: use --data DIR"
            raise InputError(f"{split} does not exist (it is {origin}).")
    transform = evaluation_transform(cfg.data.dataset, crop)
    with config.explained_data_errors(cfg):
        train, val = host().labelled_loaders(cfg, transform, transform)
    in_order = {"shuffle": False, "drop_last": False, "num_workers": cfg.data.num_workers}
    return tuple(
        torch.utils.data.DataLoader(loader.dataset, batch_size=loader.batch_size, **in_order)
        for loader in (train, val)
    )


def measure(train: Codes, val: Codes, num_classes: int) -> dict[str, Any]:
    """All numbers of one model.

    Args:
        train: of the training split; neighbours of kNN.
        val: of the validation split; everything is measured on it.
        num_classes: number of classes C; labels are 0..C-1.

    Returns:
        Nested dict of floats, shares in 0..1, entropies in nats, accuracies in percent.
    """
    interpretability = metrics.InterpretabilityMetrics(num_classes)
    interpretability.update(val.codes, val.labels)
    values = {name: float(value) for name, value in interpretability.compute().items()}
    generator = torch.Generator().manual_seed(0)
    values["shuffled_label_null"] = float(
        metrics.shuffled_label_null(val.codes, val.labels, generator=generator)
    )
    result = {
        "samples": len(val.labels),
        "codes": values,
        "accuracy": {
            # of other data with other classes it says nothing
            "online_classifier": _top1(val) if val.logits.size(1) == num_classes else None,
            "knn_backbone": knn_accuracy(train.feats, train.labels, val.feats, val.labels),
            "knn_codes": knn_accuracy(train.codes, train.labels, val.codes, val.labels),
        },
        "retrieval": _retrieval(val),
    }
    if val.gate_probs is not None:
        result["gate"] = {"mean_open_probability": float(val.gate_probs.mean())}
    return result


def _top1(val: Codes) -> float:
    return 100 * float((val.logits.argmax(dim=1) == val.labels).float().mean())


def knn_accuracy(
    train_feats: Tensor, train_labels: Tensor, val_feats: Tensor, val_labels: Tensor
) -> float:
    """Top-1 accuracy in percent of the host's weighted kNN (cosine, k = 20) on unit rows.

    The host needs labels 0..n-1 that all occur in validation, so training images of other classes
    are left out.
    """
    classes, val_targets = val_labels.unique(return_inverse=True)
    known = torch.isin(train_labels, classes)
    knn = host().KNN(k=KNN_K, distance_fx="cosine")
    knn.update(
        train_features=nn.functional.normalize(train_feats[known]),
        train_targets=torch.searchsorted(classes, train_labels[known]),
        test_features=nn.functional.normalize(val_feats),
        test_targets=val_targets,
    )
    top1, _ = knn.compute()
    return float(top1)


def _retrieval(val: Codes) -> dict[str, dict[str, float]]:
    """Precision@k over the 32, 64, ... most active dimensions, and over all."""
    dim = val.codes.size(1)
    dims = sorted({*(d for d in (32 * 2**i for i in range(20)) if d < dim), dim})
    ks = tuple(k for k in RETRIEVAL_KS if k < len(val.labels))
    table = metrics.retrieval_precision(val.codes, val.labels, dims, ks)
    return {
        str(d): {f"precision_at_{k}": float(p) for k, p in zip(ks, row, strict=True)}
        for d, row in zip(dims, table, strict=True)
    }
