"""Reading checkpoints. Never runs code from a file."""

import pickle
import re
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from solo_bayesncl.errors import InputError
from solo_bayesncl.runs.integrity import require_whole

_DAMAGED = (pickle.UnpicklingError, EOFError, LookupError)


def load_checkpoint(path: Path, untrusted: bool = False) -> dict:
    """A checkpoint's content on the CPU.

    Args:
        path: the file.
        untrusted: replace objects that torch does not trust by inert ones; otherwise the file is
            refused. Checkpoints of the official code hold such objects, its settings. Nothing of
            their classes is imported or run.

    Raises:
        InputError: if it is not a checkpoint, or is damaged.
    """
    require_whole(path)
    try:
        with _inert_objects(path) if untrusted else nullcontext():
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is gone: a run in progress replaces its checkpoints. Repeat the command."
        ) from error
    except Exception as error:  # a damaged file can make the unpickler raise nearly anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused:  # torch's own message advises to load it without protection
            reason = f"it holds {refused[1]}, which torch would have to run."
            if not untrusted:
                reason += " If the official code wrote it: solo-bayesncl import."
        elif isinstance(error, _DAMAGED) or "weights_only" in str(error):
            reason = "it is damaged, or holds more than tensors and plain values."
        raise InputError(f"{path} cannot be read as a checkpoint: {reason}") from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise InputError(f"{path} holds no state_dict: it is not a checkpoint of solo-learn.")
    state = content["state_dict"]
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise InputError(
            f"{path}: its state_dict is not a dict of tensors by name: it is not a checkpoint of "
            "solo-learn."
        )
    return content


class _Inert:
    """Placeholder for an object: ignores any arguments and any state."""

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        pass


def _inert_objects(path: Path) -> torch.serialization.safe_globals:
    """Makes torch load `_Inert` for every class in the file that it does not trust."""
    names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    return torch.serialization.safe_globals([(_Inert, name) for name in names])


def load_weights(path: Path) -> dict[str, Tensor]:
    """Weights of a checkpoint under main's names."""
    return weights_of(load_checkpoint(path))


def weights_of(content: dict) -> dict[str, Tensor]:
    """Weights under main's names: `encoder.` of older releases becomes `backbone.`."""
    state = content["state_dict"]
    return {re.sub(r"^(momentum_)?encoder\.", r"\1backbone.", k): v for k, v in state.items()}


def non_finite(weights: Mapping[str, Tensor]) -> list[str]:
    """Names of the weights that hold NaN or infinities, as those of a diverged model do."""
    return [name for name, value in weights.items() if not value.isfinite().all()]


def require_finite(weights: Mapping[str, Tensor], path: Path) -> None:
    """Raises `InputError` if a weight holds NaN or infinities."""
    if names := non_finite(weights):
        more = " and more" if len(names) > 3 else ""
        raise InputError(
            f"{path} is of a model that diverged: {', '.join(names[:3])}{more} hold values that "
            "are not finite. Give another checkpoint, or train anew: auto_resume.enabled=False "
            "and a smaller optimizer.lr."
        )


def require_fit(module: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Raises `InputError` unless the weights are finite and have the module's names and shapes."""
    expected = {name: value.shape for name, value in module.state_dict().items()}
    actual = {name: value.shape for name, value in weights.items()}
    wrong = [name for name in expected.keys() | actual if expected.get(name) != actual.get(name)]
    if wrong:
        raise InputError(
            f"{path} does not fit the model of this recipe: {', '.join(sorted(wrong)[:3])}"
            f"{' and more' if len(wrong) > 3 else ''} differ. Is it of another method or backbone?"
        )
    require_finite(weights, path)


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
