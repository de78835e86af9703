"""A run's folder: finding, naming and reading it. The one place that loads files."""

import json
import pickle
import random
import re
import string
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from solo_bayesncl.errors import InputError

# settings that may differ between an interrupted run and the one that continues it
NOT_COMPARED = (
    "resume_from_checkpoint",
    "auto_resume",
    "checkpoint",
    "wandb",
    "wandb_run_id",
    "debug_augmentations",
    "enable_progress_bar",
    "data.num_workers",
    "dali.device",
)


@dataclass(frozen=True)
class Run:
    """A pretraining or linear-evaluation run on disk.

    Attributes:
        folder: holds `args.json` and the checkpoints.
        checkpoint: the newest checkpoint, or the one asked for.
        cfg: the run's settings as recorded in `args.json`.
    """

    folder: Path
    checkpoint: Path
    cfg: DictConfig

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Opens a run by its folder or by one of its checkpoints.

        Raises:
            InputError: if there is no such file, or it is not a run of solo-learn.
        """
        checkpoint = checkpoint_at(path)
        folder = checkpoint.parent
        record = folder / "args.json"
        try:
            settings = json.loads(record.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(
                f"{folder} holds no args.json, the record of settings that solo-learn keeps beside "
                "its checkpoints; without it the model cannot be rebuilt."
            ) from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{record} is damaged: {error}.") from None
        if not isinstance(settings, dict):
            raise InputError(f"{record} is damaged: it holds no settings.")
        cfg = OmegaConf.create(settings)
        OmegaConf.resolve(cfg)  # a sweep of solo-learn's script records a recipe's `preset`
        return cls(folder, checkpoint, cfg)

    @property
    def epoch(self) -> int:
        """Epoch of the checkpoint, from 0; -1 if its name does not tell."""
        return checkpoint_epoch(self.checkpoint)

    @property
    def optimizer_steps(self) -> int | None:
        """Optimizer steps that the checkpoint is the result of, if it tells."""
        return load_checkpoint(self.checkpoint).get("global_step")


def checkpoint_epoch(checkpoint: Path) -> int:
    found = re.search(r"ep=(\d+)\.ckpt$", checkpoint.name)
    return int(found[1]) if found else -1


def checkpoint_at(path: str | Path, key: str = "") -> Path:
    """A checkpoint by its file, or the latest one (by epoch, then by time) by its folder.

    Args:
        path: what was given.
        key: the setting it was given for, if any.

    Raises:
        InputError: if there is none.
    """
    path = Path(path)
    given = f"{key}={path}" if key else f"{path}"
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"{given} does not exist. Give a .ckpt file or the folder of a run.")
    found = [file for file in path.glob("*.ckpt") if file.is_file()]
    if not found:
        raise InputError(f"{given} holds no .ckpt file. Give the folder of a finished run.")
    return max(found, key=lambda file: (checkpoint_epoch(file), file.stat().st_mtime))


def load_checkpoint(path: Path) -> dict:
    """A checkpoint's content on the CPU. Never runs code from the file.

    Raises:
        InputError: if it is not a checkpoint, or is damaged.
    """
    return _loaded(path, foreign=False)


def load_foreign_checkpoint(path: Path) -> dict:
    """The same for one that also holds objects of classes torch does not trust, such as settings.

    Nothing of those classes is imported or run: each object is one that does nothing, in its place.
    """
    return _loaded(path, foreign=True)


def _loaded(path: Path, foreign: bool) -> dict:
    try:
        with _inert_globals(path) if foreign else nullcontext():
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can make the unpickler raise nearly anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused:  # torch's own words advise to load it without protection
            reason = f"it holds {refused[1]}, which torch would have to run."
            if not foreign:
                reason += " If it is of the official code: solo-bayesncl import."
        elif isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error):
            reason = "it is damaged, or holds other things than tensors and plain values."
        raise InputError(f"{path} cannot be read as a checkpoint: {reason}") from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise InputError(f"{path} holds no state_dict: it is no checkpoint of solo-learn.")
    state = content["state_dict"]
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise InputError(
            f"{path}: its state_dict is no dict of tensors by name: it is no checkpoint of "
            "solo-learn."
        )
    return content


class _Inert:
    """Stands in for an object: takes any arguments and any state, and does nothing with them."""

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        pass


def _inert_globals(path: Path) -> AbstractContextManager:
    """While it lasts, what the file names beyond tensors and plain types is `_Inert` to torch."""
    if not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        return nullcontext()  # torch before 2.6 refuses such files
    names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    return torch.serialization.safe_globals([(_Inert, name) for name in names])


def load_weights(path: Path) -> dict[str, Tensor]:
    """Weights of a checkpoint under main's names."""
    return weights_of(load_checkpoint(path))


def weights_of(content: dict) -> dict[str, Tensor]:
    """Weights under main's names: `encoder.` of older releases becomes `backbone.`."""
    state = content["state_dict"]
    return {re.sub(r"^(momentum_)?encoder\.", r"\1backbone.", k): v for k, v in state.items()}


def require_fit(module: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Raises `InputError` unless names and shapes of the weights are the module's."""
    expected = {name: value.shape for name, value in module.state_dict().items()}
    given = {name: value.shape for name, value in weights.items()}
    wrong = [name for name in expected.keys() | given if expected.get(name) != given.get(name)]
    if wrong:
        raise InputError(
            f"{path} does not fit the model of this recipe: {', '.join(sorted(wrong)[:3])}"
            f"{' and more' if len(wrong) > 3 else ''} differ. Is it of another method or backbone?"
        )


def fill_module(module: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Loads weights into a module, every one of them.

    Raises:
        InputError: if names or shapes do not fit.
    """
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:4]]
        raise InputError(
            f"{path} does not fit the model it is loaded into: {' '.join(lines)}"
        ) from None


def new_version(parent: Path) -> str:
    """A name for a new run's folder, in solo-learn's form."""
    while True:
        letters = random.SystemRandom().choices(string.ascii_lowercase + string.digits, k=8)
        version = "offline-" + "".join(letters)
        if not (parent / version).exists():
            return version


def find_resumable(cfg: DictConfig, kind: str) -> Run | None:
    """The newest run whose settings are those of `cfg`, for `auto_resume`.

    solo-learn compares eight settings and so would continue, say, a run with another seed or prior;
    here all must agree but those of `NOT_COMPARED`, which do not change what is learned.

    Args:
        cfg: settings after the host added its defaults.
        kind: folder below `checkpoint.dir`: the method's name, or "linear".
    """
    parent = Path(cfg.checkpoint.dir) / kind
    wanted = comparable(OmegaConf.to_container(cfg))
    candidates = []
    for record in parent.glob("*/args.json"):
        try:
            run = Run.open(record.parent)
        except InputError:
            continue
        if comparable(OmegaConf.to_container(run.cfg)) == wanted:
            candidates.append(run)
    return max(candidates, key=lambda run: run.checkpoint.stat().st_mtime, default=None)


def comparable(settings: dict) -> dict:
    """Settings without those that do not change what is learned, in JSON's own types."""
    kept = json.loads(json.dumps(settings, default=str))
    for key in NOT_COMPARED:
        *path, last = key.split(".")
        node = kept
        for part in path:
            node = node.get(part, {})
        node.pop(last, None)
    return kept
