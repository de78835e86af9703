"""From a run's record and checkpoint to its model, and from the model's outputs to codes."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from solo_bayesncl import files, methods
from solo_bayesncl.adapters import adapter
from solo_bayesncl.adapters.datasets import DOWNLOADED
from solo_bayesncl.errors import InputError
from solo_bayesncl.image_files import class_names
from solo_bayesncl.objective import Encoding, encode
from solo_bayesncl.runs.checkpoints import fill_module, load_checkpoint, weights_of
from solo_bayesncl.runs.run import Run

CLASSES = "classes.json"  # in a run's folder: the names by label


def load_model(run: Run, content: dict | None = None) -> nn.Module:
    """Rebuilds the model of a run from its record and loads its weights, in evaluation mode.

    Args:
        run: the run.
        content: of its checkpoint, where that has been loaded already.

    Raises:
        InputError: if the record or the weights do not fit the installed solo-learn.
    """
    model = build_model(run.cfg, run.folder / "args.json")
    content = load_checkpoint(run.checkpoint) if content is None else content
    fill_module(model, weights_of(content), run.checkpoint)
    return model.eval()


def build_model(cfg: DictConfig, record: Path) -> nn.Module:
    """The model of recorded settings, with random weights.

    Args:
        cfg: the settings; missing defaults are added.
        record: the file they come from, for messages.

    Raises:
        InputError: if the installed solo-learn lacks the method, or they do not describe a model.
    """
    methods.register()
    if cfg.get("method") not in adapter().method_names():
        raise InputError(
            f"{record} names method {cfg.get('method')!r}, which {adapter().NAME} does not have. "
            f"It has: {', '.join(adapter().method_names())}."
        )
    for key in ("data.dataset", "augmentations.0", "backbone.name"):  # which evaluation reads
        if OmegaConf.select(cfg, key) is None:
            raise InputError(f"{record} lacks {key}: it is not a complete record of a run.")
    try:
        return adapter().build(cfg)
    except InputError as error:
        raise InputError(f"{record}: {error}") from error
    except (
        TypeError, ValueError, AssertionError, AttributeError, KeyError, RuntimeError, MemoryError,
        OverflowError, OmegaConfBaseException,
    ) as error:  # fmt: skip
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"No model can be built from {record}: {reason}") from error


def training_classes(cfg: DictConfig) -> tuple[str, ...] | None:
    """Class names of a run's training data, None if the data are gone or have no classes."""
    path = cfg.data.get("train_path")
    if path is None:
        return None
    try:
        if cfg.data.dataset in DOWNLOADED:
            from torchvision import datasets  # takes seconds, so only where it is needed

            return tuple(vars(datasets)[cfg.data.dataset.upper()](path).classes)
        return tuple(class_names(path)) or None
    except (OSError, RuntimeError):
        return None


def recorded_classes(folder: Path) -> tuple[str, ...] | None:
    """Class names that a run was trained with, None if it does not record them."""
    names = (files.read_json(folder / CLASSES) or {}).get("classes")
    return tuple(map(str, names)) if isinstance(names, list) else None


def encode_outputs(model: nn.Module, out: dict[str, Tensor]) -> Encoding:
    """Codes from the outputs of any method's `forward`.

    Codes of solo-learn's own methods are the normalised projections, or the normalised backbone
    features of methods without a projector.
    """
    if hasattr(model, "encode"):
        return model.encode(out)
    return encode(out.get("z", out["feats"]), non_neg="none")
