"""Methods over seeds: means with confidence intervals, and paired differences."""

from collections.abc import Sequence
from itertools import combinations
from statistics import fmean, stdev
from typing import Any

from scipy import stats

from solo_bayesncl.report.catalogue import reported_in

CONFIDENCE = 0.95
_METRIC_FIELDS = ("key", "label", "unit", "better", "headline")

Evaluations = dict[str, dict[int, dict[str, Any]]]  # method -> seed -> evaluation


def interval(values: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation and confidence interval of the mean.

    Student's t: seeds are taken as independent draws of a normal quantity.

    Args:
        values: one per seed; differences between two methods give the interval of a paired t-test.

    Returns:
        `n`, `mean`, `sd` (n - 1 in the denominator), `low`, `high`; the mean is None without
        values, the others with fewer than two.
    """
    result: dict[str, Any] = dict.fromkeys(("n", "mean", "sd", "low", "high"))
    result["n"] = len(values)
    if len(values) > 0:
        result["mean"] = fmean(values)
    if len(values) > 1:
        result["sd"] = stdev(values)
        result["low"] = result["high"] = result["mean"]  # scipy has nan where all are equal
    if result["sd"]:
        ends = stats.ttest_1samp(values, 0).confidence_interval(CONFIDENCE)
        result["low"], result["high"] = map(float, ends)
    return result


def compare(evaluations: Evaluations) -> dict[str, Any]:
    """Summaries of every metric per method and paired differences between methods.

    Args:
        evaluations: of each method and seed. A value that is undefined (None) is left out of
            its mean; a pair with one, of its difference.

    Returns:
        What `comparison.json` holds of numbers: `methods`, `seeds`, `confidence`, `metrics`,
        `values`, `summary`, `differences` (each method against each earlier one, over the seeds
        that both have).
    """
    methods = list(evaluations)
    seeds = sorted({seed for runs in evaluations.values() for seed in runs})
    metrics = reported_in(e for runs in evaluations.values() for e in runs.values())
    values = {
        method: {
            metric.key: [metric.of(runs[seed]) if seed in runs else None for seed in seeds]
            for metric in metrics
        }
        for method, runs in evaluations.items()
    }
    summary = {
        method: {
            key: interval([value for value in by_seed if value is not None])
            for key, by_seed in columns.items()
        }
        for method, columns in values.items()
    }
    differences = [
        {"metric": metric.key, "method": method, "against": other}
        | _difference(values[method][metric.key], values[other][metric.key])
        for metric in metrics
        for other, method in combinations(methods, 2)
    ]
    return {
        "methods": methods,
        "seeds": seeds,
        "confidence": CONFIDENCE,
        "metrics": [{name: getattr(metric, name) for name in _METRIC_FIELDS} for metric in metrics],
        "values": values,
        "summary": summary,
        "differences": differences,
    }


def _difference(values: list[float | None], others: list[float | None]) -> dict[str, Any]:
    pairs = zip(values, others, strict=True)
    result = interval([a - b for a, b in pairs if a is not None and b is not None])
    significant = None if result["low"] is None else result["low"] > 0 or result["high"] < 0
    if result["sd"] == 0 and result["mean"] != 0:
        # counts and accuracies are discrete: equal differences do not show that there is no spread
        significant = None
    return {**result, "significant": significant}
