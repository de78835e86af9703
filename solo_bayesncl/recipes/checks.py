"""Checks a recipe before anything slow starts: its values, its images and the machine."""

from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

from omegaconf import DictConfig

from solo_bayesncl import files
from solo_bayesncl.adapters.datasets import DOWNLOADED
from solo_bayesncl.errors import InputError
from solo_bayesncl.image_files import require_class_folders, require_flat
from solo_bayesncl.recipes.machine import check_dali
from solo_bayesncl.recipes.method_kwargs import METHODS, fill_method_kwargs
from solo_bayesncl.recipes.own_keys import validate_with_own_keys
from solo_bayesncl.recipes.schema import LinearRecipe, PretrainRecipe, Recipe
from solo_bayesncl.recipes.solo_learn_kwargs import check_solo_learn_kwargs


def check_pretrain(cfg: DictConfig, data: bool = True) -> None:
    """Checks a pretraining recipe and adds the defaults of our methods. Needs no solo-learn.

    Args:
        cfg: the recipe; changed in place.
        data: whether its images, and DALI's device, must be there.

    Raises:
        InputError: names each key to change.
    """
    recipe = validate_with_own_keys(PretrainRecipe, cfg)
    cfg.method_kwargs = cfg.get("method_kwargs") or {}
    if cfg.method in METHODS:
        fill_method_kwargs(cfg)
    else:
        check_solo_learn_kwargs(cfg.method_kwargs)
    if data:
        check_dali(cfg)
        _check_folders(recipe)


def check_linear(cfg: DictConfig) -> None:
    """Checks a linear-evaluation recipe, and whether its images are there. Needs no solo-learn.

    Raises:
        InputError: names each key to change.
    """
    recipe = validate_with_own_keys(LinearRecipe, cfg)
    check_dali(cfg)
    _check_folders(recipe)


def _check_folders(recipe: Recipe) -> None:
    data = recipe.data
    if data.dataset in DOWNLOADED:
        return
    labelled = not data.no_labels
    for key in ("train_path", "val_path") if labelled else ("train_path",):
        if (path := getattr(data, key)) is not None:
            _check_images(f"data.{key}", Path(path), data.format, labelled)


def _check_images(key: str, path: Path, file_format: str, labelled: bool) -> None:
    if file_format == "h5":
        if not path.is_file():
            raise InputError(f"{key}={path} is not a file; data.format=h5 needs an HDF5 file.")
        return
    if not path.is_dir():
        raise InputError(f"{key}={path} is not a folder.")
    if labelled:
        require_class_folders(path, key)
    else:
        require_flat(path, key)


@contextmanager
def data_errors_as_input_errors(cfg: DictConfig):
    """Turns what data sets raise for missing or unreadable files into one message."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        if isinstance(error, URLError) or str(error).startswith("Dataset "):
            raise InputError(
                f"data.dataset={cfg.data.dataset} is neither in data.train_path="
                f"{cfg.data.train_path} nor can it be downloaded ({error}). Put its files there."
            ) from error
        if not isinstance(error, OSError):
            raise
        if error.errno in files.WRITE_ERRORS:
            raise files.WriteError(f"A file cannot be written: {error}.") from error
        reason = str(error).splitlines()[-1]  # the first lines can be a loader process's traceback
        raise InputError(
            f"A file cannot be read: {reason} (data.train_path={cfg.data.train_path}, "
            f"data.val_path={cfg.data.get('val_path')})"
        ) from error


def too_few_images(cfg: DictConfig, processes: int = 1) -> str:
    """The message for data that do not fill one batch: the loaders drop the incomplete one."""
    each = f" in each of {processes} processes" if processes > 1 else ""
    return (
        f"data.train_path={cfg.data.train_path} holds fewer images than "
        f"optimizer.batch_size={cfg.optimizer.batch_size}{each}: no step would be taken. "
        "Give more images or a smaller batch."
    )
