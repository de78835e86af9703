"""Everything that is measured on a model's codes, features and gates."""

from functools import partial
from math import nan
from typing import Any

import torch
from torch import Tensor

from solo_bayesncl import metrics
from solo_bayesncl.evaluation import probes
from solo_bayesncl.evaluation.code_lengths import at_code_lengths, thresholds_of
from solo_bayesncl.evaluation.evaluated_model import EvaluatedModel
from solo_bayesncl.evaluation.guarded import all_nan, nan_unless_finite, with_null
from solo_bayesncl.evaluation.lengths import LENGTHS
from solo_bayesncl.evaluation.unlabelled import without_class_metrics
from solo_bayesncl.metrics.retrieval import retrieval_metrics
from solo_bayesncl.metrics.summary import class_based_summary_of, summary_of

RETRIEVAL_KS = (1, 3, 5, 10)


def measure(model: EvaluatedModel) -> dict[str, Any]:
    """All numbers of one model, measured on the validation split.

    Returns:
        Nested dict of floats, shares in 0..1, entropies in nats, accuracies in percent;
        docs/metrics.md defines them. `not_finite` lists the spaces that hold NaN or infinities in
        either split, as those of a diverged model do; what would be measured on such values is NaN.
        `warnings` are the sentences of `health.warnings_of`. Without labels, what depends on
        classes is NaN.
    """
    if model.is_labelled:
        return _measure(model, model.val.labels)
    one_class = torch.zeros_like(model.val.labels)
    return without_class_metrics(_measure(model, one_class), list(model.spaces))


def _measure(model: EvaluatedModel, labels: Tensor) -> dict[str, Any]:
    train, val, on = model.train, model.val, model.on_device
    spaces = model.spaces
    result: dict[str, Any] = {
        "samples": len(labels),
        "not_finite": [space for space in spaces if space in model.not_finite],
        "warnings": model.warnings,
    }
    for space, values in spaces.items():
        result[space] = on(partial(with_null, formulas=summary_of), values, labels)
        result[space] |= _monosemanticity(model.monosemanticity.get(space))
    average_precision = on(_average_precision, spaces["backbone"], labels)
    result["backbone"]["mean_average_precision"] = average_precision
    result["retrieval"], average_precision = on(_retrieval, val.codes, labels)
    result["codes"]["mean_average_precision"] = average_precision
    for name, value in list(result["retrieval"].values())[-1].items():
        result["codes"][f"retrieval_{name}"] = value
    if val.probs is not None:
        result["gate"] |= _gate(val.probs, val.mask > 0)
    selection = _feature_selection(model, labels)
    result["accuracy"] = {
        # undefined for classes other than those that it was trained on
        "online_classifier": _top1(val.logits, labels) if model.classifier_fits else None,
        "knn_backbone": train.knn_accuracy["backbone"],
        "knn_codes": train.knn_accuracy["codes"],
        "probe_codes": list(selection.values())[-1],
    }
    result["feature_selection"] = selection
    result["code_lengths"] = _code_lengths(model, labels)
    result["factors"] = {name: _of_factor(model, name) for name in model.factors}
    return result


def _monosemanticity(score: metrics.Monosemanticity | None) -> dict[str, float]:
    return {
        "monosemanticity": nan if score is None else float(score.mean),
        "monosemanticity_chance": nan if score is None else float(score.chance),
    }


@nan_unless_finite
def _average_precision(values: Tensor, labels: Tensor) -> float:
    return float(metrics.mean_average_precision(values, labels))


@nan_unless_finite
def _gate(probs: Tensor, is_open: Tensor) -> dict[str, float]:
    return {
        "mean_open_probability": float(probs.mean()),
        "open_rate": float(is_open.float().mean()),
    }


@nan_unless_finite
def _top1(logits: Tensor, labels: Tensor) -> float:
    return 100 * float((logits.argmax(dim=1) == labels).float().mean())


@nan_unless_finite
def _retrieval(codes: Tensor, labels: Tensor) -> tuple[dict[str, dict[str, float]], float]:
    """Precision@k over the 32, 64, ... most active dimensions, and over all; average precision.

    NaN for k that reach beyond the other samples.
    """
    dims = probes.subspace_sizes(codes.size(1), least=32)
    table = {str(d): {f"precision_at_{k}": nan for k in RETRIEVAL_KS} for d in dims}
    ks = [k for k in RETRIEVAL_KS if k < len(labels)]
    if not ks:
        return table, nan
    found = retrieval_metrics(codes, labels, dims, ks, average_precision=True)
    for d, row in zip(dims, found.precision.tolist(), strict=True):
        table[str(d)] |= {f"precision_at_{k}": p for k, p in zip(ks, row, strict=True)}
    return table, float(found.mean_average_precision)


def _feature_selection(model: EvaluatedModel, labels: Tensor) -> dict[str, float]:
    train, val = model.train, model.val
    if model.options.quick:
        return dict.fromkeys(map(str, probes.selection_sizes(val.codes.size(1))), nan)
    selection = model.on_device(
        probes.feature_selection, train.codes, train.labels, val.codes, labels, train.order
    )
    # The order is that of all training images, not only of those that probes are trained on.
    return all_nan(selection) if "codes" in train.not_finite else selection


def _code_lengths(model: EvaluatedModel, labels: Tensor) -> dict[str, dict[str, Any]]:
    train, val = model.train, model.val
    thresholds = dict(zip(map(str, LENGTHS), thresholds_of(train, LENGTHS), strict=True))
    lengths = model.on_device(
        partial(at_code_lengths, thresholds=thresholds, probed=not model.options.quick),
        train.codes, train.labels, val.codes, labels,
    )  # fmt: skip
    return all_nan(lengths) if "codes" in model.not_finite else lengths


def _of_factor(model: EvaluatedModel, name: str) -> dict[str, Any]:
    """How dimensions relate to a factor, by space."""
    factor = model.factors[name]
    result: dict[str, Any] = {"kind": factor.kind, "levels": factor.num_levels}
    if not factor.known.all():
        result["samples"] = len(factor.levels)
    class_based = partial(with_null, formulas=class_based_summary_of)
    for space, values in model.spaces.items():
        values = factor.select(values)
        result[space] = model.on_device(class_based, values, factor.levels)
        result[space] |= _information(model.information[name].get(space), values)
    return result


def _information(information: Tensor | None, values: Tensor) -> dict[str, float]:
    mean = largest = nan
    if information is not None:
        live = (values.abs() > metrics.ACTIVE).any(dim=0)
        information = information[live.to(information.device)]
        if len(information):
            mean, largest = float(information.mean()), float(information.max())
    return {"mutual_information_mean": mean, "mutual_information_max": largest}
