"""Everything that is measured on a model's codes, features and gates."""

from collections.abc import Callable
from functools import partial, wraps
from math import nan
from typing import Any

import torch
from torch import Tensor

from solo_bayesncl import metrics
from solo_bayesncl.evaluation import probes
from solo_bayesncl.evaluation.encoding import EvaluatedModel, on_device
from solo_bayesncl.evaluation.factors import Factor
from solo_bayesncl.evaluation.forward import Outputs
from solo_bayesncl.evaluation.health import warnings_of

RETRIEVAL_KS = (1, 3, 5, 10)


def measure(model: EvaluatedModel) -> dict[str, Any]:
    """All numbers of one model, measured on the validation split.

    Returns:
        Nested dict of floats, shares in 0..1, entropies in nats, accuracies in percent;
        docs/metrics.md defines them. `not_finite` lists the spaces that hold NaN or infinities in
        either split, as those of a diverged model do; what would be measured on such values is NaN.
        `warnings` are the sentences of `health.warnings_of`.
    """
    train, val = model.train, model.val
    on = partial(on_device, model.options.torch_device)
    spaces = val.spaces
    not_finite = {space for space, values in spaces.items() if not probes.are_finite(values)}
    not_finite |= train.not_finite
    result: dict[str, Any] = {
        "samples": len(val.labels),
        "not_finite": [space for space in spaces if space in not_finite],
        "warnings": warnings_of(model),
    }
    for space, values in spaces.items():
        result[space] = on(partial(_with_null, compute=metrics.summary), values, val.labels)
        result[space] |= on(_monosemanticity, values, model.embeddings)
    for space in ("backbone", "codes"):
        result[space]["mean_average_precision"] = on(_average_precision, spaces[space], val.labels)
    if val.probs is not None:
        result["gate"] |= _gate(val.probs, val.mask > 0)
    selection = probes.feature_selection(
        train.codes, train.labels, val.codes, val.labels, order=train.order
    )
    result["accuracy"] = {
        # undefined for classes other than those that it was trained on
        "online_classifier": _top1(val.logits, val.labels) if model.classifier_fits else None,
        "knn_backbone": train.knn_accuracy["backbone"],
        "knn_codes": train.knn_accuracy["codes"],
        "probe_codes": list(selection.values())[-1],
    }
    result["feature_selection"] = selection
    result["retrieval"] = on(_retrieval, val.codes, val.labels)
    for name, value in list(result["retrieval"].values())[-1].items():
        result["codes"][f"retrieval_{name}"] = value
    result["factors"] = {name: _of_factor(val, f, on) for name, f in model.factors.items()}
    return result


def _nan_unless_finite(measurement: Callable) -> Callable:
    """Makes every number that a function of tensors returns NaN where one of them is not finite."""

    @wraps(measurement)
    def guarded(*tensors: Tensor, **settings: Any) -> Any:
        if probes.are_finite(*tensors):
            return measurement(*tensors, **settings)
        # one sample of zeros is enough for the names of the numbers
        zeros = (tensor.new_zeros(1, *tensor.shape[1:]) for tensor in tensors)
        return _all_nan(measurement(*zeros, **settings))

    return guarded


def _all_nan(numbers: Any) -> Any:
    if isinstance(numbers, dict):
        return {name: _all_nan(value) for name, value in numbers.items()}
    return nan


@_nan_unless_finite
def _with_null(
    values: Tensor, labels: Tensor, compute: Callable[[Tensor, Tensor], dict[str, Tensor]]
) -> dict[str, float]:
    """The metrics that `compute` returns, and semantic consistency with shuffled labels."""
    null = metrics.shuffled_label_null(values, labels, generator=torch.Generator().manual_seed(0))
    numbers = compute(values, labels) | {"shuffled_label_null": null}
    return {name: float(value) for name, value in numbers.items()}


@_nan_unless_finite
def _monosemanticity(values: Tensor, embeddings: Tensor) -> dict[str, float]:
    score = metrics.monosemanticity(values, embeddings)
    return {"monosemanticity": float(score.mean), "monosemanticity_chance": float(score.chance)}


@_nan_unless_finite
def _average_precision(values: Tensor, labels: Tensor) -> float:
    return float(metrics.mean_average_precision(values, labels))


@_nan_unless_finite
def _gate(probs: Tensor, is_open: Tensor) -> dict[str, float]:
    return {
        "mean_open_probability": float(probs.mean()),
        "open_rate": float(is_open.float().mean()),
    }


@_nan_unless_finite
def _top1(logits: Tensor, labels: Tensor) -> float:
    return 100 * float((logits.argmax(dim=1) == labels).float().mean())


@_nan_unless_finite
def _retrieval(codes: Tensor, labels: Tensor) -> dict[str, dict[str, float]]:
    """Precision@k over the 32, 64, ... most active dimensions, and over all.

    NaN for k that reach beyond the other samples.
    """
    dims = probes.subspace_sizes(codes.size(1), least=32)
    result = {str(d): {f"precision_at_{k}": nan for k in RETRIEVAL_KS} for d in dims}
    if ks := [k for k in RETRIEVAL_KS if k < len(labels)]:
        table = metrics.retrieval_precision(codes, labels, dims, ks)
        for d, row in zip(dims, table.tolist(), strict=True):
            result[str(d)] |= {f"precision_at_{k}": p for k, p in zip(ks, row, strict=True)}
    return result


def _of_factor(val: Outputs, factor: Factor, on: Callable) -> dict[str, Any]:
    """How dimensions relate to a factor, by space; `on` computes on the device."""
    result: dict[str, Any] = {"kind": factor.kind, "levels": factor.num_levels}
    if not factor.known.all():
        result["samples"] = len(factor.levels)
    class_based = partial(_with_null, compute=metrics.class_based_summary)
    for space, values in val.spaces.items():
        values = factor.select(values)
        result[space] = on(class_based, values, factor.levels)
        result[space] |= on(_information, values, factor.levels)
    return result


@_nan_unless_finite
def _information(values: Tensor, levels: Tensor) -> dict[str, float]:
    mean = largest = nan
    live = (values.abs() > metrics.ACTIVE).any(dim=0)
    if live.any():
        information = metrics.mutual_information(values, levels)[live]
        mean, largest = float(information.mean()), float(information.max())
    return {"mutual_information_mean": mean, "mutual_information_max": largest}
