"""Consistency and accuracy of a model's codes cut to several lengths, and as trained."""

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

import torch
from torch import Tensor

from solo_bayesncl.evaluation import probes
from solo_bayesncl.evaluation.guarded import all_nan, with_null
from solo_bayesncl.evaluation.lengths import AS_TRAINED
from solo_bayesncl.evaluation.neighbours import Neighbours
from solo_bayesncl.evaluation.training_split import TrainingSplit
from solo_bayesncl.metrics.activity import active_dims_of, code_length_of
from solo_bayesncl.metrics.consistency import (
    adjusted_consistency_of,
    paired_dims_of,
    semantic_consistency_of,
    weighted_consistency_of,
)
from solo_bayesncl.metrics.lengths import apply_cut, cut_thresholds
from solo_bayesncl.metrics.statistics import Statistics

_FORMULAS = {
    "semantic_consistency": semantic_consistency_of,
    "adjusted_consistency": adjusted_consistency_of,
    "paired_dims": paired_dims_of,
    "weighted_consistency": weighted_consistency_of,
    "active_dims": active_dims_of,
    "code_length": code_length_of,
}


def thresholds_of(train: TrainingSplit, lengths: Sequence[float]) -> list[float | None]:
    """`metrics.cut_threshold` for each length on a training split's codes.

    None where the codes are no longer than that as trained, or are not finite.
    """
    if "codes" in train.not_finite:
        return [None] * len(lengths)
    return [threshold or None for threshold in cut_thresholds(train.codes, lengths)]


def at_code_lengths(
    train_codes: Tensor,
    train_labels: Tensor,
    val_codes: Tensor,
    val_labels: Tensor,
    thresholds: Mapping[str, float | None],
    probed: bool = True,
) -> dict[str, dict[str, Any]]:
    """What the codes of a validation split are worth at several lengths.

    Args:
        train_codes: (R, D) of the rows that probes are trained on: neighbours, too, are these.
        train_labels: (R,) int, on any device.
        val_codes: (M, D).
        val_labels: (M,) int.
        thresholds: name of a length -> threshold of the cut; None for a length that the codes do
            not reach.
        probed: whether to train linear probes, which take most of the time; NaN otherwise.

    Returns:
        Name of the length, and `as_trained` -> numbers, docs/metrics.md defines them. NaN at a
        length that is not reached, or for codes that are not finite.
    """
    probe = probes.WarmStartedProbe()
    # Of short codes, many are equal. Those nearest to a query would be the first ones, and images
    # are in the order of their classes.
    order = torch.randperm(len(train_codes), generator=torch.Generator().manual_seed(0))

    def measured(threshold: float) -> dict[str, Any]:
        train, val = apply_cut(train_codes, threshold), apply_cut(val_codes, threshold)
        neighbours = Neighbours({"codes": val}, val_labels.cpu())
        neighbours.update({"codes": train[order.to(train.device)]}, train_labels.cpu()[order])
        return {
            "threshold": threshold,
            **with_null(val, val_labels, formulas=_numbers_of),
            "empty": float((val == 0).all(dim=1).double().mean()),
            "knn": neighbours.accuracies()["codes"],
            "probe": probe.accuracy(train, train_labels, val, val_labels) if probed else nan,
        }

    # long codes first, which those of the next length resemble
    as_trained = measured(0.0) | {"threshold": nan}
    results = {
        name: all_nan(as_trained) if threshold is None else measured(threshold)
        for name, threshold in reversed(thresholds.items())
    }
    return dict(reversed(results.items())) | {AS_TRAINED: as_trained}


def _numbers_of(statistics: Statistics) -> dict[str, Tensor]:
    return {name: formula(statistics) for name, formula in _FORMULAS.items()}
