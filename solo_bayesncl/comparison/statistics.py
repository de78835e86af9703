"""Methods over seeds: means with confidence intervals, and paired differences."""

from collections.abc import Sequence
from functools import cache
from itertools import combinations
from math import sqrt
from statistics import fmean, stdev
from typing import Any

from scipy import stats

from solo_bayesncl.comparison.equal_knn import at_equal_knn
from solo_bayesncl.report.catalogue import reported_in

CONFIDENCE = 0.95
# of what is repeated as a conclusion: of the many differences, some exclude zero at 95 % by chance
CLEAR_CONFIDENCE = 0.99
# with two, Student's t is 12.7: hardly any difference could be called significant
SEEDS_TO_JUDGE = 3
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
        result["low"] = result["high"] = result["mean"]
    if result["sd"]:
        reach = _quantile(len(values) - 1, CONFIDENCE) * result["sd"] / sqrt(len(values))
        result["low"], result["high"] = result["mean"] - reach, result["mean"] + reach
    return result


@cache
def _quantile(degrees: int, confidence: float) -> float:
    """That of Student's t at the upper end of the interval, of which there are thousands."""
    return float(stats.t.ppf((1 + confidence) / 2, degrees))


def is_clear(difference: dict[str, Any]) -> bool:
    """Whether an entry of `differences` is significant at 99 %, too.

    Other seeds, and another machine, hardly ever turn such a difference round.
    """
    if not difference["significant"]:
        return False
    n = difference["n"]
    reach = _quantile(n - 1, CLEAR_CONFIDENCE) * difference["sd"] / sqrt(n)
    return abs(difference["mean"]) > reach


def compare(evaluations: Evaluations) -> dict[str, Any]:
    """Summaries of every metric per method and paired differences between methods.

    Args:
        evaluations: of each method and seed. A value that is undefined (None) is left out of
            its mean; a pair with one, of its difference. The values at equal kNN accuracy are
            added to them.

    Returns:
        What `comparison.json` holds of numbers: `methods`, `seeds`, `confidence`, `metrics`,
        `values`, `summary`, `differences` (each method against each earlier one, over the seeds
        that both have).
    """
    methods = list(evaluations)
    seeds = sorted({seed for runs in evaluations.values() for seed in runs})
    evaluations = _with_equal_knn(evaluations, seeds)
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
        | paired_difference(values[method][metric.key], values[other][metric.key])
        for metric in metrics
        if not metric.common
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


def _with_equal_knn(evaluations: Evaluations, seeds: Sequence[int]) -> Evaluations:
    result = {method: dict(runs) for method, runs in evaluations.items()}
    for seed in seeds:
        of_seed = {method: runs[seed] for method, runs in result.items() if seed in runs}
        for method, values in at_equal_knn(of_seed).items():
            result[method][seed] = {**of_seed[method], "equal_knn": values}
    return result


def paired_difference(
    values: Sequence[float | None], others: Sequence[float | None]
) -> dict[str, Any]:
    """An entry of `differences`: that of two quantities over the seeds that have both."""
    pairs = zip(values, others, strict=True)
    result = interval([a - b for a, b in pairs if a is not None and b is not None])
    significant = None
    if result["n"] >= SEEDS_TO_JUDGE and (_has_spread(result) or result["mean"] == 0):
        significant = result["low"] > 0 or result["high"] < 0
    return {**result, "significant": significant}


def _has_spread(difference: dict[str, Any]) -> bool:
    """Counts and accuracies are discrete: equal differences do not show that there is no spread."""
    rounding = 1e-9 * abs(difference["mean"])
    return difference["sd"] > rounding
