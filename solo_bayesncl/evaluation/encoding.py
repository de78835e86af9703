"""Opens a run and encodes both splits of its data."""

import logging
from pathlib import Path

import torch
from omegaconf import DictConfig, open_dict
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from solo_bayesncl.adapters.datasets import DOWNLOADED
from solo_bayesncl.adapters.shared import labels_of
from solo_bayesncl.data.loaders import (
    flat_loaders,
    has_flat_folders,
    labelled_loaders,
    worker_options,
)
from solo_bayesncl.data.transforms import as_image_folder, evaluation_transform
from solo_bayesncl.data.unreadable import (
    ReadableLoader,
    Reading,
    UnreadableImages,
    without_images,
)
from solo_bayesncl.errors import InputError
from solo_bayesncl.evaluation.devices import metric_device
from solo_bayesncl.evaluation.evaluated_model import EvaluatedModel
from solo_bayesncl.evaluation.factors import factors_of
from solo_bayesncl.evaluation.forward import collect, outputs_by_batch
from solo_bayesncl.evaluation.options import Options
from solo_bayesncl.evaluation.references import reference_embeddings
from solo_bayesncl.evaluation.training_split import training_split, with_indexes
from solo_bayesncl.precision import resolve_precision
from solo_bayesncl.recipes.checks import data_errors_as_input_errors
from solo_bayesncl.runs import Run, load_checkpoint
from solo_bayesncl.runs.models import load_model, recorded_classes, training_classes

_logger = logging.getLogger(__name__)


def encode_splits(checkpoint: str | Path, options: Options) -> EvaluatedModel:
    """Loads a model and runs it over both splits of its data.

    Args:
        checkpoint: a .ckpt file or the folder of a run.

    Raises:
        InputError: for a checkpoint, data, metadata, reference or device that cannot be used.
    """
    run, device = Run.open(checkpoint), options.torch_device
    precision = resolve_precision(options.precision, run.cfg.get("precision"), device)
    checkpoint_content = load_checkpoint(run.checkpoint)
    model = load_model(run, checkpoint_content)
    cfg = _with_data(run.cfg, options)
    unreadable = UnreadableImages(Reading.of(cfg.data))
    loaders = evaluation_loaders(run.cfg, options)
    train_loader, val_loader = (ReadableLoader.like(loader, unreadable) for loader in loaders)
    train_images, images = train_loader.dataset.samples, val_loader.dataset.samples
    train_labels = labels_of(train_images)
    factors = factors_of(images, options.metadata)
    with data_errors_as_input_errors(cfg):
        val = collect(model, val_loader, device, precision, "validation images")
        if val_loader.failures:
            images = without_images(images, val_loader.failures)
            factors = factors_of(images, options.metadata)
        embeddings = val.feats
        if options.reference is not None:
            of_val = {"batch_size": loaders[1].batch_size, **worker_options(loaders[1])}
            embeddings = reference_embeddings(
                options.reference,
                options.reference_weights,
                DataLoader(images, **of_val),
                device,
                unreadable.reading.max_pixels,
            )
        batches = outputs_by_batch(model, train_loader, device, precision, "training images")
        train = training_split(
            with_indexes(batches, train_loader.failures), train_labels, val, metric_device(device)
        )
    classes = _classes(run, train_images, torch.cat([train_labels, val.labels]))
    evaluated = EvaluatedModel(
        run, options, model, val, train, images, classes, embeddings, factors,
        _classifier_fits(run, options, classes), precision, unreadable,
        checkpoint_content.get("global_step"),
    )  # fmt: skip
    for warning in evaluated.warnings:
        _logger.warning(warning)
    return evaluated


def _classes(run: Run, images: Dataset, labels: Tensor) -> tuple[str, ...]:
    """Names by label; the label itself where a data set of solo-learn has no name for it.

    None of images without labels.
    """
    if labels.max() < 0:
        return ()
    names = list(map(str, getattr(images, "classes", range(run.cfg.data.num_classes))))
    return (*names, *map(str, range(len(names), int(labels.max()) + 1)))


def _classifier_fits(run: Run, options: Options, classes: tuple[str, ...]) -> bool:
    """Whether a run was trained on these classes.

    A run of version 0.1.0 records their number alone; names are compared while its data exist.
    """
    if not classes:
        return False
    trained_on = recorded_classes(run.folder)
    if trained_on is None and options.data is not None:
        trained_on = training_classes(run.cfg)
    return run.cfg.data.num_classes == len(classes) and trained_on in (None, classes)


def evaluation_loaders(cfg: DictConfig, options: Options) -> tuple[DataLoader, DataLoader]:
    """(train, validation) loaders of a run's data without augmentation, in order.

    Raises:
        InputError: if the run has no validation images.
    """
    cfg = _with_data(cfg, options)
    labelled = not cfg.data.get("no_labels")
    if cfg.data.get("val_path") is None or not (labelled or has_flat_folders(cfg)):
        raise InputError(
            "The run has no labelled validation images. Give some with --data DIR, a folder with "
            "train/ and val/ and in each a folder per class."
        )
    for split in (cfg.data.train_path, cfg.data.val_path):
        if cfg.data.dataset not in DOWNLOADED and not Path(split).exists():
            given = options.data is not None
            origin = "of --data" if given else "of the run's record: use --data DIR"
            raise InputError(f"{split} does not exist (it is {origin}).")
    transform = evaluation_transform(cfg.data.dataset, cfg.augmentations[0])
    with data_errors_as_input_errors(cfg):
        loaders = labelled_loaders if labelled else flat_loaders
        train, val = loaders(cfg, transform, transform)
    # pinned memory only serves copies to a GPU
    pinned = {"pin_memory": options.torch_device.type == "cuda"}
    return tuple(
        DataLoader(
            loader.dataset,
            batch_size=loader.batch_size,
            **(worker_options(loader) | pinned),
        )
        for loader in (train, val)
    )


def _with_data(cfg: DictConfig, options: Options) -> DictConfig:
    """A run's settings with those of an evaluation's data."""
    cfg = cfg.copy() if options.data is None else as_image_folder(cfg)
    given = {
        "train_path": options.data and str(options.data / "train"),
        "val_path": options.data and str(options.data / "val"),
        "num_workers": options.workers,
        "on_corrupt": options.on_corrupt,
        "max_image_pixels": options.max_image_pixels,
    }
    with open_dict(cfg):
        cfg.data.update({key: value for key, value in given.items() if value is not None})
    return cfg
