"""Methods compared over seeds: means with confidence intervals, and paired differences."""

import math
from collections.abc import Iterable, Sequence
from itertools import combinations, pairwise
from typing import Any

from scipy import stats

from solo_bayesncl.report.catalogue import Metric, reported_in
from solo_bayesncl.report.formats import formatted, formatted_difference, formatted_interval

CONFIDENCE = 0.95
_OF_A_METRIC = ("key", "label", "unit", "better", "headline")
# what is said in words
_SAID = (
    "codes.semantic_consistency",
    "codes.adjusted_consistency",
    "codes.code_length",
    "accuracy.linear_backbone",
    "accuracy.knn_backbone",
)

Evaluations = dict[str, dict[int, dict[str, Any]]]


def interval(values: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation and confidence interval of the mean.

    Student's t: seeds are taken as independent draws of a normal quantity.

    Args:
        values: one per seed.

    Returns:
        `n`, `mean`, `sd` (n - 1 in the denominator), `low`, `high`; the mean is None without
        values, the others with fewer than two.
    """
    n = len(values)
    result: dict[str, Any] = {"n": n, "mean": None, "sd": None, "low": None, "high": None}
    if n == 0:
        return result
    mean = result["mean"] = math.fsum(values) / n
    if n == 1:
        return result
    sd = result["sd"] = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * sd / math.sqrt(n)
    return {**result, "low": mean - half, "high": mean + half}


def compare(evaluations: Evaluations) -> dict[str, Any]:
    """Summaries of every metric per method and paired differences between methods.

    Args:
        evaluations: method -> seed -> evaluation. A value that is undefined (None) is left out of
            its mean; a pair with one, of its difference.

    Returns:
        What `comparison.json` holds of numbers: `methods`, `seeds`, `confidence`, `metrics`,
        `values`, `summary`, `differences` (each method against each earlier one, over the seeds
        that both have), `sentences`.
    """
    methods = list(evaluations)
    seeds = sorted({seed for runs in evaluations.values() for seed in runs})
    metrics = reported_in(e for runs in evaluations.values() for e in runs.values())
    values = {
        method: {
            metric.key: [_value(metric, evaluations[method].get(seed)) for seed in seeds]
            for metric in metrics
        }
        for method in methods
    }
    summary = {
        method: {key: interval(_defined(column)) for key, column in values[method].items()}
        for method in methods
    }
    differences = [
        {"metric": metric.key, "method": method, "against": other}
        | _difference(values[method][metric.key], values[other][metric.key])
        for metric in metrics
        for other, method in combinations(methods, 2)
    ]
    result = {
        "methods": methods,
        "seeds": seeds,
        "confidence": CONFIDENCE,
        "metrics": [{name: getattr(metric, name) for name in _OF_A_METRIC} for metric in metrics],
        "values": values,
        "summary": summary,
        "differences": differences,
    }
    return {**result, "sentences": sentences(result)}


def _value(metric: Metric, evaluation: dict[str, Any] | None) -> float | None:
    return None if evaluation is None else metric.of(evaluation)


def _defined(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _difference(values: list[float | None], others: list[float | None]) -> dict[str, Any]:
    pairs = zip(values, others, strict=True)
    found = interval([a - b for a, b in pairs if a is not None and b is not None])
    significant = None if found["low"] is None else found["low"] > 0 or found["high"] < 0
    if found["sd"] == 0 and found["mean"] != 0:
        # counts and accuracies are discrete: two equal differences are no sign of no spread
        significant = None
    return {**found, "significant": significant}


def sentences(comparison: dict[str, Any]) -> list[str]:
    """What the numbers show, in words: each method against the one before it."""
    metrics = {metric["key"]: metric for metric in comparison["metrics"]}
    found = {(d["metric"], d["method"], d["against"]): d for d in comparison["differences"]}
    result = []
    for other, method in pairwise(comparison["methods"]):
        for key in _SAID:
            if key in metrics and found[key, method, other]["mean"] is not None:
                means = {m: comparison["summary"][m][key]["mean"] for m in (method, other)}
                result.append(_sentence(metrics[key], means, found[key, method, other]))
    return result


def _sentence(metric: dict[str, Any], means: dict[str, float], difference: dict[str, Any]) -> str:
    unit = metric["unit"]
    told = ", ".join(f"{method} {formatted(mean, unit)}" for method, mean in means.items())
    told = f"{metric['label']}: {told}"
    if metric["label"][1].islower():  # not of kNN
        told = told[0].upper() + told[1:]
    if difference["n"] < 2:
        return f"{told}. One seed: no interval, so the difference is not judged."
    mean = formatted_difference(difference["mean"], unit)
    if difference["significant"] is None:
        return f"{told}. Difference {mean} at every seed: without spread it is not judged."
    verdict = "a" if difference["significant"] else "no"
    return (
        f"{told}. Difference {mean}, "
        f"{100 * CONFIDENCE:.0f} % interval "
        f"{formatted_interval(difference['low'], difference['high'], unit)} over "
        f"{difference['n']} seeds: {verdict} significant difference."
    )


def record_of(evaluations: Evaluations) -> dict[str, Any]:
    """What a comparison depends on, per method in order of its seeds.

    Returns:
        `samples`, `optimizer_steps`, `not_finite` (spaces with values that are not), and
        `versions`, the distinct ones, of the evaluations, with their device and precision.
    """
    every = {method: [runs[seed] for seed in sorted(runs)] for method, runs in evaluations.items()}
    versions: dict[str, dict[str, None]] = {}
    for evaluation in (e for found in every.values() for e in found):
        conditions = {key: evaluation[key] for key in ("device", "precision") if key in evaluation}
        for name, version in (evaluation["versions"] | conditions).items():
            versions.setdefault(name, {})[version] = None
    return {
        "samples": {method: [e["samples"] for e in found] for method, found in every.items()},
        "optimizer_steps": {
            method: [e["optimizer_steps"] for e in found] for method, found in every.items()
        },
        "not_finite": {
            method: [e.get("not_finite", []) for e in found] for method, found in every.items()
        },
        "versions": {name: ", ".join(found) for name, found in versions.items()},
    }


def warnings_of(comparison: dict[str, Any]) -> list[str]:
    """What makes a comparison unfair, in words."""
    found = []
    for key, words in (("optimizer_steps", "optimizer steps"), ("samples", "validation images")):
        if len({number for numbers in comparison[key].values() for number in numbers}) > 1:
            told = "; ".join(
                f"{method} {', '.join(map(str, numbers))}"
                for method, numbers in comparison[key].items()
            )
            found.append(f"Not like for like: the numbers of {words} differ ({told}).")
    for method, by_seed in comparison["not_finite"].items():
        for seed, spaces in zip(comparison["seeds"], by_seed, strict=True):
            if spaces:
                found.append(
                    f"{method}, seed {seed}: {', '.join(spaces)} hold values that are not finite "
                    "and are left out. Did training diverge?"
                )
    for name, versions in comparison["versions"].items():
        if ", " in versions:
            found.append(f"Not like for like: runs were evaluated with {name} {versions}.")
    return found
