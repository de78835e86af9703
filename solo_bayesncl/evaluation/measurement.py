"""Everything that is measured on a model's codes, features and gates."""

from collections.abc import Callable
from functools import partial
from math import nan
from typing import Any

import torch
from torch import Tensor

from solo_bayesncl import metrics
from solo_bayesncl.evaluation import probes
from solo_bayesncl.evaluation.encoding import EvaluatedModel, Outputs, on_device
from solo_bayesncl.evaluation.factors import Factor

RETRIEVAL_KS = (1, 3, 5, 10)


def measure(model: EvaluatedModel) -> dict[str, Any]:
    """All numbers of one model, measured on the validation split.

    Returns:
        Nested dict of floats, shares in 0..1, entropies in nats, accuracies in percent;
        docs/metrics.md defines them. `not_finite` lists the spaces that hold nan or infinities in
        either split, as those of a model that diverged; what would be measured on such values is
        nan.
    """
    train, val = model.train, model.val
    on = partial(on_device, model.options.torch_device)
    spaces = val.spaces
    given = [*spaces.items(), ("backbone", train.feats), ("codes", train.codes)]
    broken = {space for space, values in given if not probes.are_finite(values)}
    result: dict[str, Any] = {
        "samples": len(val.labels),
        "not_finite": [space for space in spaces if space in broken],
    }
    for space, values in spaces.items():
        result[space] = on(partial(_numbers, metrics.summary), values, val.labels)
        result[space] |= on(_monosemanticity, values, model.embeddings)
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
        "online_classifier": _top1(val) if model.classifier_fits else None,
        "knn_backbone": on(probes.knn_accuracy, *feats),
        "knn_codes": on(probes.knn_accuracy, *codes),
        "probe_codes": list(selection.values())[-1],
    }
    result["feature_selection"] = selection
    result["retrieval"] = on(_retrieval, val.codes, val.labels)
    for name, value in list(result["retrieval"].values())[-1].items():
        result["codes"][f"retrieval_{name}"] = value
    result["factors"] = {name: _of_factor(val, f, on) for name, f in model.factors.items()}
    return result


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
