"""Codes of a trained model and everything that is measured on them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import nan
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets
from torchvision.datasets.folder import find_classes

import solo_bayesncl
from solo_bayesncl import metrics, recipes
from solo_bayesncl.adapters import adapter
from solo_bayesncl.console import progress
from solo_bayesncl.data.loaders import worker_options
from solo_bayesncl.data.transforms import evaluation_transform, statistics
from solo_bayesncl.errors import InputError
from solo_bayesncl.evaluation import probes
from solo_bayesncl.evaluation.factors import Factor, factors_of
from solo_bayesncl.evaluation.options import Options
from solo_bayesncl.evaluation.references import reference_embeddings
from solo_bayesncl.objective import Encoding, encode
from solo_bayesncl.precision import autocast, resolve_precision
from solo_bayesncl.runs import run as runs

Result = TypeVar("Result")

RETRIEVAL_KS = (1, 3, 5, 10)
# of a record, what evaluation itself reads
NEEDED = ("data.dataset", "augmentations.0", "backbone.name")


@dataclass(frozen=True)
class Outputs:
    """What a model says of one split, on the CPU.

    Attributes:
        feats: (M, F) backbone features.
        codes: (M, D) gated, normalised projections.
        labels: (M,) int64.
        projections: (M, D) non-negative, normalised projections before the gate.
        logits: (M, C) of the online classifier.
        probs: (M, D) posterior open-probabilities, None without a gate.
        mask: (M, D) values of the gate, None without a gate.

    The last four are None where they were not collected.
    """

    feats: Tensor
    codes: Tensor
    labels: Tensor
    projections: Tensor | None = None
    logits: Tensor | None = None
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
class EvaluatedModel:
    """A trained model with what it says of its data: what everything is measured on.

    Attributes:
        run: where it comes from.
        options: as given.
        model: in evaluation mode.
        train: of the training split, without augmentation; features, codes and labels alone.
        val: of the validation split.
        images: the validation split; `val` has its labels, which its folders may number otherwise.
        classes: their names by label, those of the training split.
        embeddings: (M, E) of the validation split, reference for monosemanticity.
        factors: of the validation split.
        classifier_fits: whether the online classifier's outputs stand for `classes`.
        precision: that the model ran in.
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
    classifier_fits: bool = True
    precision: str = "32-true"


def load_model(run: runs.Run) -> nn.Module:
    """Rebuilds the model of a run from its record and loads its weights, in evaluation mode.

    Raises:
        InputError: if the record or the weights do not fit the installed solo-learn.
    """
    model = build_model(run.cfg, run.folder / "args.json")
    runs.fill_module(model, runs.load_weights(run.checkpoint), run.checkpoint)
    return model.eval()


def build_model(cfg: DictConfig, record: Path) -> nn.Module:
    """The model of recorded settings, with random weights.

    Args:
        cfg: the settings; defaults that they lack are added.
        record: where they were read, for messages.

    Raises:
        InputError: if the installed solo-learn lacks the method, or they do not make up a model.
    """
    solo_bayesncl.register()
    if cfg.get("method") not in adapter().method_names():
        raise InputError(
            f"{record} names method {cfg.get('method')!r}, which {adapter().NAME} does not have. "
            f"It has: {', '.join(adapter().method_names())}."
        )
    lacking = [key for key in NEEDED if OmegaConf.select(cfg, key) is None]
    if lacking:
        raise InputError(f"{record} lacks {lacking[0]}: it is no whole record of a run.")
    try:
        return adapter().build(cfg)
    except InputError as error:
        raise InputError(f"{record}: {error}") from error
    except (
        TypeError, ValueError, AssertionError, AttributeError, KeyError, OmegaConfBaseException
    ) as error:  # fmt: skip
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"No model can be built from {record}: {reason}") from error


def encode_splits(checkpoint: str | Path, options: Options) -> EvaluatedModel:
    """Loads a model and runs it over both splits of its data.

    Args:
        checkpoint: a .ckpt file or the folder of a run.

    Raises:
        InputError: for a checkpoint, data, metadata, reference or device that cannot be used.
    """
    run, device = runs.Run.open(checkpoint), options.torch_device
    precision = resolve_precision(options.precision, run.cfg.get("precision"), device)
    model = load_model(run)
    train_loader, val_loader = labelled_loaders(run.cfg, options)
    images = val_loader.dataset
    label_in_training = _labels_in_training(train_loader.dataset, images)
    factors = factors_of(images, options.metadata)
    with recipes.data_errors_as_input_errors(run.cfg):
        # the training split can be large, and only these are used
        on = (device, precision)
        train = collect(model, train_loader, *on, "training images", ("feats", "codes"))
        val = collect(model, val_loader, *on, "validation images")
        embeddings = val.feats
        if options.reference is not None:
            embeddings = reference_embeddings(
                options.reference, options.reference_weights, val_loader, device
            )
    if label_in_training is not None:
        val = replace(val, labels=label_in_training[val.labels])
    classes = _classes(run, train_loader.dataset, torch.cat([train.labels, val.labels]))
    return EvaluatedModel(
        run, options, model, train, val, images, classes, embeddings, factors,
        _trained_on(run.cfg, options, classes), precision,
    )  # fmt: skip


def _labels_in_training(train: Dataset, val: Dataset) -> Tensor | None:
    """(number of validation classes,) the label that each has in training, by its name.

    Folders are numbered in their order: one that validation lacks would shift all behind it.

    Returns:
        None where a data set of the host does not tell the names.

    Raises:
        InputError: for validation classes that training lacks.
    """
    known, given = (getattr(images, "class_to_idx", None) for images in (train, val))
    if known is None or given is None:
        return None
    unknown = [name for name in given if name not in known]
    if unknown:
        raise InputError(
            f"{getattr(val, 'root', 'The validation split')} has classes that the training split "
            f"lacks: {_listed(unknown)}. Training has: {_listed(list(known))}. Give class folders "
            "of the same names to both: correct those of data.val_path, or choose other data with "
            "--data DIR."
        )
    return torch.tensor([known[name] for name in sorted(given, key=given.get)])


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


def _classes(run: runs.Run, images: Dataset, labels: Tensor) -> tuple[str, ...]:
    """Names by label; not every data set of the host tells them."""
    names = getattr(images, "classes", range(run.cfg.data.num_classes))
    names = [str(name) for name in names]
    return tuple(names + [str(label) for label in range(len(names), int(labels.max()) + 1)])


def _trained_on(cfg: DictConfig, options: Options, classes: tuple[str, ...]) -> bool:
    """Whether a run was trained on these classes, as far as can be told.

    Its record has their number alone; their names are where its training data still are.
    """
    if cfg.data.num_classes != len(classes):
        return False
    own = None if options.data is None else own_classes(cfg)
    return own is None or own == classes


def own_classes(cfg: DictConfig) -> tuple[str, ...] | None:
    """Names of the classes of a run's own training data, None if those are gone or have none."""
    path = cfg.data.get("train_path")
    if path is None:
        return None
    try:
        if cfg.data.dataset in recipes.DOWNLOADED:
            return tuple(vars(datasets)[cfg.data.dataset.upper()](path).classes)
        return tuple(find_classes(path)[0])
    except (OSError, RuntimeError):
        return None


def encoded(model: nn.Module, out: dict[str, Tensor]) -> Encoding:
    """Codes from the outputs of any method of the host.

    Those of methods that are not ours are the normalised projections, or the normalised backbone
    features of methods without a projector.
    """
    if hasattr(model, "encode"):
        return model.encode(out)
    return encode(out.get("z", out["feats"]), non_neg="none")


def forward_images(
    model: nn.Module, images: Tensor, device: torch.device, precision: str
) -> dict[str, Tensor]:
    """What a model says of normalised images (N, 3, H, W), by the names of `Outputs`.

    Args:
        model: in evaluation mode, on `device`.
        images: in any memory; from pinned memory they are copied while the GPU computes.
        device: where to compute.
        precision: one of `solo_bayesncl.precision.PRECISIONS`.
    """
    with autocast(precision, device):
        out = model(images.to(device, non_blocking=True))
        outputs = {"feats": out["feats"], "logits": out["logits"], **vars(encoded(model, out))}
    return {name: value.float() for name, value in outputs.items() if value is not None}


@torch.no_grad()
def collect(
    model: nn.Module,
    loader: Iterable,
    device: torch.device,
    precision: str,
    what: str,
    names: tuple[str, ...] = ("feats", "logits", "projections", "codes", "probs", "mask"),
) -> Outputs:
    """Runs a model over a labelled loader.

    Args:
        model: in evaluation mode; moved to `device`.
        loader: yields (images, labels).
        device: where to compute; the result is on the CPU.
        precision: one of `solo_bayesncl.precision.PRECISIONS`.
        what: words for the progress bar.
        names: of what to keep, besides the labels.
    """
    model.to(device)
    all_labels: list[Tensor] = []
    all_rows: list[Tensor] = []
    for images, labels in progress(loader, what):
        outputs = forward_images(model, images, device, precision)
        kept = {name: outputs[name] for name in names if name in outputs}
        all_labels.append(labels)
        # in one copy: the CPU waits for the GPU once a batch
        all_rows.append(torch.cat(list(kept.values()), dim=1).cpu())
    widths = [value.size(1) for value in kept.values()]
    columns = zip(*(rows.split(widths, dim=1) for rows in all_rows), strict=True)
    return Outputs(
        labels=torch.cat(all_labels),
        **{name: torch.cat(column) for name, column in zip(kept, columns, strict=True)},
    )


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
        if cfg.data.dataset not in recipes.DOWNLOADED and not Path(split).exists():
            origin = "of --data" if data is not None else "of the run's record: use --data DIR"
            raise InputError(f"{split} does not exist (it is {origin}).")
    transform = evaluation_transform(cfg.data.dataset, cfg.augmentations[0])
    with recipes.data_errors_as_input_errors(cfg):
        train, val = adapter().labelled_loaders(cfg, transform, transform)
    # pinned memory only serves copies to a GPU
    pinned = {"pin_memory": options.torch_device.type == "cuda"}
    return tuple(
        DataLoader(
            loader.dataset, batch_size=loader.batch_size, **(worker_options(loader) | pinned)
        )
        for loader in (train, val)
    )


def of_folders(cfg: DictConfig) -> DictConfig:
    """A copy of a run's settings for image files of any size, normalised as in training."""
    cfg = cfg.copy()
    with open_dict(cfg):
        crop = cfg.augmentations[0]
        crop.mean, crop.std = map(list, statistics(cfg.data.dataset, crop))
        cfg.data.dataset, cfg.data.format, cfg.data.no_labels = "custom", "image_folder", False
        cfg.data.fraction = -1  # a share of the run's own images
    return cfg


def measure(subject: EvaluatedModel) -> dict[str, Any]:
    """All numbers of one model, measured on the validation split.

    Returns:
        Nested dict of floats, shares in 0..1, entropies in nats, accuracies in percent;
        docs/metrics.md defines them. `not_finite` lists the spaces that hold nan or infinities in
        either split, as those of a model that diverged; what would be measured on such values is
        nan.
    """
    train, val = subject.train, subject.val
    on = partial(on_device, subject.options.torch_device)
    spaces = val.spaces
    given = [*spaces.items(), ("backbone", train.feats), ("codes", train.codes)]
    broken = {space for space, values in given if not probes.are_finite(values)}
    result: dict[str, Any] = {
        "samples": len(val.labels),
        "not_finite": [space for space in spaces if space in broken],
    }
    for space, values in spaces.items():
        result[space] = on(partial(_numbers, metrics.summary), values, val.labels)
        result[space] |= on(_monosemanticity, values, subject.embeddings)
    for space in ("backbone", "codes"):
        result[space]["mean_average_precision"] = on(_average_precision, spaces[space], val.labels)
    if val.probs is not None:
        finite = probes.are_finite(val.probs)
        result["gate"]["mean_open_probability"] = float(val.probs.mean())
        result["gate"]["open_rate"] = float((val.mask > 0).float().mean()) if finite else nan
    selection = probes.feature_selection(train.codes, train.labels, val.codes, val.labels)
    feats = (train.feats, train.labels, val.feats, val.labels)
    codes = (train.codes, train.labels, val.codes, val.labels)
    result["accuracy"] = {
        # of other classes it says nothing
        "online_classifier": _top1(val) if subject.classifier_fits else None,
        "knn_backbone": on(probes.knn_accuracy, *feats),
        "knn_codes": on(probes.knn_accuracy, *codes),
        "probe_codes": list(selection.values())[-1],
    }
    result["feature_selection"] = selection
    result["retrieval"] = on(_retrieval, val.codes, val.labels)
    for name, value in list(result["retrieval"].values())[-1].items():
        result["codes"][f"retrieval_{name}"] = value
    result["factors"] = {name: _of_factor(val, f, on) for name, f in subject.factors.items()}
    return result


def on_device(device: torch.device, compute: Callable[..., Result], *tensors: Tensor) -> Result:
    """`compute(*tensors)` on a GPU, or on the CPU where the GPU's memory does not suffice.

    Tensors that it returns stay where they were computed. Other devices than CUDA's are not used:
    metrics need float64, which MPS lacks.
    """
    if device.type == "cuda":
        try:
            return compute(*(tensor.to(device) for tensor in tensors))
        except torch.OutOfMemoryError:
            pass  # the exception holds what is on the GPU until this block ends
        torch.cuda.empty_cache()
    return compute(*tensors)


def device_name(device: torch.device) -> str:
    """For a record: `cpu`, or the name of the GPU."""
    return device.type if device.type != "cuda" else torch.cuda.get_device_name(device)


def _numbers(of: Callable, values: Tensor, labels: Tensor) -> dict[str, float]:
    """What `of` says of values and labels, and what it would be worth with shuffled ones."""
    if not probes.are_finite(values):
        names = of(values.new_zeros(1, 1), labels.new_zeros(1))
        return dict.fromkeys((*names, "shuffled_label_null"), nan)
    null = metrics.shuffled_label_null(values, labels, generator=torch.Generator().manual_seed(0))
    numbers = of(values, labels) | {"shuffled_label_null": null}
    return {name: float(value) for name, value in numbers.items()}


def _monosemanticity(values: Tensor, embeddings: Tensor) -> dict[str, float]:
    mean = chance = nan
    if probes.are_finite(values, embeddings):
        score = metrics.monosemanticity(values, embeddings)
        mean, chance = float(score.mean), float(score.chance)
    return {"monosemanticity": mean, "monosemanticity_chance": chance}


def _average_precision(values: Tensor, labels: Tensor) -> float:
    if not probes.are_finite(values):
        return nan
    return float(metrics.mean_average_precision(values, labels))


def _of_factor(val: Outputs, factor: Factor, on: Callable) -> dict[str, Any]:
    """How dimensions relate to a factor, by space; `on` computes on the device."""
    result: dict[str, Any] = {"kind": factor.kind, "levels": factor.num_levels}
    for space, values in val.spaces.items():
        of = partial(_numbers, metrics.class_based_summary)
        result[space] = on(of, values, factor.levels) | on(_information, values, factor.levels)
    return result


def _information(values: Tensor, levels: Tensor) -> dict[str, float]:
    mean = largest = nan
    if probes.are_finite(values):
        live = (values.abs() > metrics.ACTIVE).any(dim=0)
        if live.any():
            found = metrics.mutual_information(values, levels)[live]
            mean, largest = float(found.mean()), float(found.max())
    return {"mutual_information_mean": mean, "mutual_information_max": largest}


def _top1(val: Outputs) -> float:
    if not probes.are_finite(val.logits):
        return nan
    return 100 * float((val.logits.argmax(dim=1) == val.labels).float().mean())


def _retrieval(codes: Tensor, labels: Tensor) -> dict[str, dict[str, float]]:
    """Precision@k over the 32, 64, ... most active dimensions, and over all.

    nan for k that reach beyond the other samples.
    """
    dims = probes.subspace_sizes(codes.size(1), least=32)
    result = {str(d): {f"precision_at_{k}": nan for k in RETRIEVAL_KS} for d in dims}
    ks = [k for k in RETRIEVAL_KS if k < len(labels)]
    if ks and probes.are_finite(codes):
        table = metrics.retrieval_precision(codes, labels, dims, ks)
        for d, row in zip(dims, table.tolist(), strict=True):
            result[str(d)] |= {f"precision_at_{k}": p for k, p in zip(ks, row, strict=True)}
    return result
