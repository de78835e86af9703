"""Words for codes and gates that carry no information, and what to change."""

from collections.abc import Mapping
from typing import Any

# A gate is closed if it leaves about one dimension of a code of 256 of which half are active. KL
# has no gradient at open-probabilities below 1 %: it does not open such a gate.
CLOSED = 0.01
# Open gates are no fault at the start: a posterior that starts at a prior above the threshold is
# open everywhere. In healthy runs 40 to 85 % are open at the end.
OPEN = 0.999
# An empty code learns nothing. In healthy runs hardly any code is empty.
EMPTY = 0.5

_LOWER_LR = (
    "Lower optimizer.lr; method_kwargs.non_neg=rep_relu has a gradient where a code is empty."
)


def collapse_of(
    method_kwargs: Mapping[str, Any],
    empty_share: float,
    open_rate: float | None = None,
    *,
    at_end: bool = True,
) -> str | None:
    """A sentence on codes that are mostly empty, or a gate that is closed or open everywhere.

    Args:
        method_kwargs: the run's, whose values the advice names.
        empty_share: share of codes that are zero, 0 to 1.
        open_rate: mean share of open gates, None without a gate.
        at_end: whether training is over; before that, open gates are no fault.

    Returns:
        None for healthy codes.
    """
    empty = f"{empty_share:.0%} of the codes are empty, and an empty code learns nothing"
    if open_rate is not None and open_rate < CLOSED:
        return f"The gate is closed: {open_rate:.1%} is open, {empty}. {_open_it(method_kwargs)}"
    if empty_share > EMPTY:
        return f"{empty}. {_open_it(method_kwargs) if open_rate is not None else _LOWER_LR}"
    hard = method_kwargs.get("gate_type") != "soft"
    if open_rate is not None and open_rate > OPEN and hard and at_end:
        return (
            f"The gate is open everywhere ({open_rate:.1%}), so codes are those of NCL. Lower "
            f"{_given(method_kwargs, 'bayesian_kl_lambda')}, with which the prior opens it, or "
            f"{_given(method_kwargs, 'bayesian_prior_prob')}, or raise "
            f"{_given(method_kwargs, 'gate_threshold')}."
        )
    return None


def _open_it(method_kwargs: Mapping[str, Any]) -> str:
    return (
        f"Raise {_given(method_kwargs, 'bayesian_prior_prob')}; or lower "
        f"{_given(method_kwargs, 'bayesian_kl_lambda')}, "
        f"{_given(method_kwargs, 'gate_threshold')} or optimizer.gating_head_lr; or start with "
        "open gates, method_kwargs.gate_init=prior."
    )


def _given(method_kwargs: Mapping[str, Any], key: str) -> str:
    return f"method_kwargs.{key} ({method_kwargs.get(key)})"
