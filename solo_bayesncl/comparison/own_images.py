"""The comparison of someone's own images: settings of a laptop, fitted to the images."""

import logging
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from solo_bayesncl.comparison.estimate import in_words
from solo_bayesncl.data import Summary
from solo_bayesncl.recipes.compose import compose_recipe
from solo_bayesncl.recipes.overrides import quote

_logger = logging.getLogger(__name__)

RECIPE = "own_images"  # of scripts/compare
COMPARISON = "comparison"  # the folder in OUT
BATCH_SIZE = 128
# images that a run is trained on, each counted once an epoch
TRAINED_IMAGES = 75_000
IMAGES_PER_MINUTE = 60_000  # of all runs, on two cores
FEWEST_EPOCHS, MOST_EPOCHS = 10, 200


def own_images_comparison(
    data: Summary,
    out: Path,
    folder: str,
    seeds: Sequence[int] | None = None,
    epochs: int | None = None,
) -> DictConfig:
    """The configuration of a comparison of SimCLR, NCL and BayesNCL on a data set.

    Args:
        data: of `make_own_images`; without classes, the comparison is one without labels.
        out: folder to write to.
        folder: of the recipes of comparisons.
        seeds: None for those of the recipe.
        epochs: None for as many as nine runs do in about ten minutes on two cores.
    """
    epochs = epochs or epochs_for(data.train_images)
    cfg = compose_recipe(folder, RECIPE, [f"out={quote(str(out / COMPARISON))}"])
    cfg.overrides += [
        f"data.train_path={quote(str(data.train_path))}",
        f"data.val_path={quote(str(data.val_path))}",
        f"data.no_labels={not data.classes}",
        f"optimizer.batch_size={min(BATCH_SIZE, data.train_images)}",
        f"max_epochs={epochs}",
        f"check_val_every_n_epoch={max(1, epochs // 5)}",
        f"checkpoint.frequency={max(1, epochs // 5)}",
    ]
    if seeds is not None:
        cfg.seeds = list(seeds)
    _log_size(data, epochs, runs=len(cfg.methods) * len(cfg.seeds))
    return cfg


def _log_size(data: Summary, epochs: int, runs: int) -> None:
    of = f" of {len(data.classes)} classes" if data.classes else ", without labels"
    seconds = 60 * runs * epochs * data.train_images / IMAGES_PER_MINUTE
    _logger.info(
        "%d images to train on and %d to validate on%s, in %s",
        data.train_images, data.val_images, of, data.path,
    )  # fmt: skip
    _logger.info(
        "%d runs, epochs: %d (--epochs N changes that): about %s on two cores",
        runs, epochs, in_words(seconds),
    )  # fmt: skip


def epochs_for(train_images: int) -> int:
    """Epochs that fit into the time of a demo: the more, the fewer images there are."""
    return max(FEWEST_EPOCHS, min(MOST_EPOCHS, round(TRAINED_IMAGES / train_images)))
