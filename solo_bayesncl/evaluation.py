"""Codes of a trained model and everything that is measured on them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from omegaconf import DictConfig, open_dict
from rich.progress import track
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import solo_bayesncl
from solo_bayesncl import config, metrics, probes, runs
from solo_bayesncl.errors import InputError
from solo_bayesncl.factors import Factor, find_metadata, read_factors
from solo_bayesncl.hosts import host
from solo_bayesncl.objective import Encoding, encode
from solo_bayesncl.options import Options
from solo_bayesncl.references import reference_embeddings
from solo_bayesncl.transforms import evaluation_transform, statistics

RETRIEVAL_KS = (1, 3, 5, 10)


@dataclass(frozen=True)
class Outputs:
    """What a model says of one split, on the CPU.

    Attributes:
        feats: (M, F) backbone features.
        projections: (M, D) non-negative, normalised projections before the gate.
        codes: (M, D) gated, normalised projections.
        logits: (M, C) of the online classifier.
        labels: (M,) int64.
        probs: (M, D) posterior open-probabilities, None without a gate.
        mask: (M, D) values of the gate, None without a gate.
    """

    feats: Tensor
    projections: Tensor
    codes: Tensor
    logits: Tensor
    labels: Tensor
    probs: Tensor | None = None
    mask: Tensor | None = None

    @property
    def spaces(self) -> dict[str, Tensor]:
        """Name -> (M, any width), rows of unit length but for the gate's.

        The gate's is its open-probability where it is open and 0 where it is closed, so that a
        dimension is active where its gate is open.
        """
        spaces = {"backbone": F.normalize(self.feats)}
        if self.probs is not None:
            spaces["projections"] = self.projections
            spaces["gate"] = self.probs * (self.mask > 0)
        return {**spaces, "codes": self.codes}


@dataclass(frozen=True)
class Subject:
    """A trained model with what it says of its data: what everything is measured on.

    Attributes:
        run: where it comes from.
        options: as given.
        model: in evaluation mode.
        train: of the training split, without augmentation.
        val: of the validation split.
        images: the validation split, labelled.
        classes: their names by label.
        embeddings: (M, E) of the validation split, reference for monosemanticity.
        factors: of the validation split.
    """

    run: runs.Run
    options: Options
    model: nn.Module
    train: Outputs
    val: Outputs
    images: Dataset
    classes: tuple[str, ...]
    embeddings: Tensor
    factors: dict[str, Factor] = field(default_factory=dict)


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


def examine(checkpoint: str | Path, options: Options) -> Subject:
    """Loads a model and runs it over both splits of its data.

    Args:
        checkpoint: a .ckpt file or the folder of a run.

    Raises:
        InputError: for a checkpoint, data, metadata, reference or device that cannot be used.
    """
    run, device = runs.Run.open(checkpoint), options.torch_device
    model = load_model(run)
    train_loader, val_loader = labelled_loaders(run.cfg, options)
    factors = {}
    metadata = options.metadata or find_metadata(val_loader.dataset)
    if metadata is not None:
        factors = read_factors(metadata, val_loader.dataset)
    with config.explained_data_errors(run.cfg):
        train = collect(model, train_loader, device, "training images")
        val = collect(model, val_loader, device, "validation images")
        embeddings = val.feats
        if options.reference is not None:
            embeddings = reference_embeddings(
                options.reference, options.reference_weights, val_loader, device
            )
    return Subject(
        run, options, model, train, val, val_loader.dataset, _classes(run, val_loader, val.labels),
        embeddings, factors,
    )  # fmt: skip


def _classes(run: runs.Run, loader: DataLoader, labels: Tensor) -> tuple[str, ...]:
    """Names by label; not every data set of the host tells them."""
    names = getattr(loader.dataset, "classes", range(run.cfg.data.num_classes))
    names = [str(name) for name in names]
    return tuple(names + [str(label) for label in range(len(names), int(labels.max()) + 1)])


def encoded(model: nn.Module, out: dict[str, Tensor]) -> Encoding:
    """Codes from the outputs of any method of the host.

    Those of methods that are not ours are the normalised projections, or the normalised backbone
    features of methods without a projector.
    """
    if hasattr(model, "encode"):
        return model.encode(out)
    return encode(out.get("z", out["feats"]), non_neg="none")


@torch.no_grad()
def collect(model: nn.Module, loader: Iterable, device: torch.device, what: str) -> Outputs:
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
        out = model(images.to(device))
        batch = {"feats": out["feats"], "logits": out["logits"], "labels": labels}
        for name, value in {**batch, **vars(encoded(model, out))}.items():
            if value is not None:
                columns.setdefault(name, []).append(value.float().cpu())
    joined = {name: torch.cat(values) for name, values in columns.items()}
    return Outputs(**{**joined, "labels": joined["labels"].long()})


def labelled_loaders(cfg: DictConfig, options: Options) -> tuple[DataLoader, DataLoader]:
    """(train, validation) loaders of a run's data without augmentation, in order.

    Raises:
        InputError: if the run has no labelled validation images.
    """
    data = options.data
    cfg = cfg.copy() if data is None else of_folders(cfg)
    with open_dict(cfg):
        if data is not None:
            cfg.data.train_path, cfg.data.val_path = str(data / "train"), str(data / "val")
        if options.workers is not None:
            cfg.data.num_workers = options.workers
        if cfg.data.get("val_path") is None or cfg.data.get("no_labels"):
            raise InputError(
                "The run has no labelled validation images. Give some with --data DIR, a folder "
                "with train/ and val/ and in each a folder per class."
            )
    for split in (cfg.data.train_path, cfg.data.val_path):
        if cfg.data.dataset not in config.DOWNLOADED and not Path(split).exists():
            origin = "of --data" if data is not None else "of the run's record: use --data DIR"
            raise InputError(f"{split} does not exist (it is {origin}).")
    transform = evaluation_transform(cfg.data.dataset, cfg.augmentations[0])
    with config.explained_data_errors(cfg):
        train, val = host().labelled_loaders(cfg, transform, transform)
    in_order = {"shuffle": False, "drop_last": False, "num_workers": cfg.data.num_workers}
    return tuple(
        DataLoader(loader.dataset, batch_size=loader.batch_size, **in_order)
        for loader in (train, val)
    )


def of_folders(cfg: DictConfig) -> DictConfig:
    """A copy of a run's settings for image files of any size, normalised as in training."""
    cfg = cfg.copy()
    with open_dict(cfg):
        crop = cfg.augmentations[0]
        crop.mean, crop.std = map(list, statistics(cfg.data.dataset, crop))
        cfg.data.dataset, cfg.data.format, cfg.data.no_labels = "custom", "image_folder", False
    return cfg


def measure(subject: Subject) -> dict[str, Any]:
    """All numbers of one model, measured on the validation split.

    Returns:
        Nested dict of floats, shares in 0..1, entropies in nats, accuracies in percent;
        docs/metrics.md defines them.
    """
    train, val = subject.train, subject.val
    result: dict[str, Any] = {"samples": len(val.labels)}
    for space, values in val.spaces.items():
        result[space] = _numbers(values, val.labels, metrics.summary)
        score = metrics.monosemanticity(values, subject.embeddings)
        result[space]["monosemanticity"] = float(score.mean)
        result[space]["monosemanticity_chance"] = float(score.chance)
    for space in ("backbone", "codes"):
        result[space]["mean_average_precision"] = float(
            metrics.mean_average_precision(val.spaces[space], val.labels)
        )
    if val.probs is not None:
        result["gate"]["mean_open_probability"] = float(val.probs.mean())
        result["gate"]["open_rate"] = float((val.mask > 0).float().mean())
    selection = probes.feature_selection(train.codes, train.labels, val.codes, val.labels)
    feats = (train.feats, train.labels, val.feats, val.labels)
    codes = (train.codes, train.labels, val.codes, val.labels)
    result["accuracy"] = {
        # of other data with other classes it says nothing
        "online_classifier": _top1(val) if val.logits.size(1) == len(subject.classes) else None,
        "knn_backbone": probes.knn_accuracy(*feats),
        "knn_codes": probes.knn_accuracy(*codes),
        "probe_codes": list(selection.values())[-1],
    }
    result["feature_selection"] = selection
    result["retrieval"] = _retrieval(val)
    for name, value in list(result["retrieval"].values())[-1].items():
        result["codes"][f"retrieval_{name}"] = value
    result["factors"] = {name: _of_factor(val, f) for name, f in subject.factors.items()}
    return result


def _numbers(values: Tensor, labels: Tensor, of: Callable) -> dict[str, float]:
    """What `of` says of values and labels, and what it would be worth with shuffled ones."""
    null = metrics.shuffled_label_null(values, labels, generator=torch.Generator().manual_seed(0))
    numbers = of(values, labels) | {"shuffled_label_null": null}
    return {name: float(value) for name, value in numbers.items()}


def _of_factor(val: Outputs, factor: Factor) -> dict[str, Any]:
    """How dimensions relate to a factor, per space of width D."""
    result: dict[str, Any] = {"kind": factor.kind, "levels": factor.num_levels}
    for space, values in val.spaces.items():
        if space == "backbone":
            continue
        result[space] = _numbers(values, factor.levels, metrics.class_based_summary)
        information = metrics.mutual_information(values, factor.levels)
        live = information[(values.abs() > metrics.ACTIVE).any(dim=0)]
        result[space]["mutual_information_mean"] = float(live.mean())
        result[space]["mutual_information_max"] = float(live.max()) if len(live) else float("nan")
    return result


def _top1(val: Outputs) -> float:
    return 100 * float((val.logits.argmax(dim=1) == val.labels).float().mean())


def _retrieval(val: Outputs) -> dict[str, dict[str, float]]:
    """Precision@k over the 32, 64, ... most active dimensions, and over all."""
    dims = probes.subspace_sizes(val.codes.size(1), least=32)
    ks = tuple(k for k in RETRIEVAL_KS if k < len(val.labels))
    table = metrics.retrieval_precision(val.codes, val.labels, dims, ks)
    return {
        str(d): {f"precision_at_{k}": float(p) for k, p in zip(ks, row, strict=True)}
        for d, row in zip(dims, table, strict=True)
    }
