"""Is there anything to measure? Calls a model that diverged or collapsed by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from solo_bayesncl import files, runs
from solo_bayesncl.data.unreadable import NAMED
from solo_bayesncl.methods.collapse import EMPTY, collapse_of
from solo_bayesncl.metrics import ACTIVE

if TYPE_CHECKING:
    from solo_bayesncl.evaluation.evaluated_model import EvaluatedModel

_LOWER = "Train it anew with a lower optimizer.lr."


def warnings_of(model: EvaluatedModel) -> list[str]:
    """Sentences on what makes a model's numbers worthless; none for a healthy one."""
    return [*_stopped(model), *_state_of(model), *_left_out(model)]


def _left_out(model: EvaluatedModel) -> list[str]:
    names = list(model.unreadable.reasons)
    if not names:
        return []
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    listed = ", ".join(names[:NAMED]) + more
    return [f"{len(names)} images cannot be read and are left out: {listed}."]


def _stopped(model: EvaluatedModel) -> list[str]:
    record = files.read_json(model.run.folder / runs.DIVERGED)
    if record is None:
        return []
    return [
        f"Training diverged at epoch {record.get('epoch')}, step {record.get('step')}: "
        f"{record.get('reason')}. What is measured is the checkpoint before that, of epoch "
        f"{model.run.epoch}."
    ]


def _state_of(model: EvaluatedModel) -> list[str]:
    val = model.val
    if names := runs.non_finite(model.model.state_dict()):
        return [f"The model diverged: {_listed(names)} hold values that are not finite. {_LOWER}"]
    if model.not_finite & ({"backbone"} if model.control else {"backbone", "codes"}):
        return [f"The model diverged: its features or codes overflow. {_LOWER}"]
    if model.control:
        return _state_of_control(model)
    kwargs = model.run.cfg.get("method_kwargs") or {}
    empty_share = float((val.codes == 0).all(dim=1).float().mean())
    open_rate = None if val.mask is None else float((val.mask > 0).float().mean())
    if hasattr(model.model, "code_options") and (
        collapse := collapse_of(kwargs, empty_share, open_rate)
    ):
        return [collapse]
    if empty_share == 1:
        return [f"The model diverged: every code is zero, as its features overflow. {_LOWER}"]
    if len(val.codes) > 1 and _is_constant(val.codes):
        return [f"The model collapsed: all images have the same code. {_LOWER}"]
    return []


def _state_of_control(model: EvaluatedModel) -> list[str]:
    codes, name = model.val.codes, model.control["name"]
    keys = [f"controls.{name}.{key}" for key in ("l1", "lr") if key in model.control]
    advice = f" Lower {' or '.join(keys)}." if keys else ""
    if "codes" in model.not_finite:
        return [f"The control diverged: its codes are not finite.{advice}"]
    empty_share = float((codes == 0).all(dim=1).float().mean())
    if empty_share > EMPTY:
        return [f"{empty_share:.0%} of the control's codes are empty.{advice}"]
    if len(codes) > 1 and _is_constant(codes):
        return ["All images have the same code: the control found nothing in its features."]
    return []


def _is_constant(codes: Tensor) -> bool:
    return bool(((codes.amax(dim=0) - codes.amin(dim=0)) <= ACTIVE).all())


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more weights" if len(names) > 3 else "")
