"""What a comparison shows, and what makes it unfair, in sentences."""

from itertools import chain, pairwise
from typing import Any

from solo_bayesncl.comparison.statistics import CONFIDENCE, Evaluations
from solo_bayesncl.report.formats import formatted, formatted_difference, formatted_interval

# metrics that sentences are about
_DESCRIBED = (
    "codes.semantic_consistency",
    "codes.adjusted_consistency",
    "codes.code_length",
    "accuracy.linear_backbone",
    "accuracy.knn_backbone",
)


def sentences(comparison: dict[str, Any]) -> list[str]:
    """One per metric and pair of neighbouring methods: means, difference and verdict."""
    metrics = {metric["key"]: metric for metric in comparison["metrics"]}
    differences = {(d["metric"], d["method"], d["against"]): d for d in comparison["differences"]}
    result = []
    for other, method in pairwise(comparison["methods"]):
        for key in _DESCRIBED:
            difference = differences.get((key, method, other))
            if difference and difference["mean"] is not None:
                means = {m: comparison["summary"][m][key]["mean"] for m in (method, other)}
                result.append(_sentence(metrics[key], means, difference))
    return result


def _sentence(metric: dict[str, Any], means: dict[str, float], difference: dict[str, Any]) -> str:
    unit = metric["unit"]
    text = ", ".join(f"{method} {formatted(mean, unit)}" for method, mean in means.items())
    text = f"{metric['label']}: {text}"
    if metric["label"][1].islower():  # not of kNN
        text = text[0].upper() + text[1:]
    if difference["n"] < 2:
        return f"{text}. One seed: no interval, so the difference is not judged."
    mean = formatted_difference(difference["mean"], unit)
    if difference["significant"] is None:
        return f"{text}. Difference {mean} at every seed: without spread it is not judged."
    verdict = "a" if difference["significant"] else "no"
    interval = formatted_interval(difference["low"], difference["high"], unit)
    return (
        f"{text}. Difference {mean}, {100 * CONFIDENCE:.0f} % interval {interval} over "
        f"{difference['n']} seeds: {verdict} significant difference."
    )


def conditions_of(evaluations: Evaluations) -> dict[str, Any]:
    """Conditions that a comparison depends on, per method in order of its seeds.

    Returns:
        `samples`, `optimizer_steps`, `not_finite` (spaces with values that are not), and
        `versions`, the distinct ones, of the evaluations, with their device and precision.
    """
    by_method = {method: [runs[s] for s in sorted(runs)] for method, runs in evaluations.items()}
    versions: dict[str, dict[str, None]] = {}
    for evaluation in chain(*by_method.values()):
        used = {key: evaluation[key] for key in ("device", "precision") if key in evaluation}
        for name, version in (evaluation["versions"] | used).items():
            versions.setdefault(name, {})[version] = None
    conditions = {
        key: {method: [e.get(key, absent) for e in es] for method, es in by_method.items()}
        for key, absent in (("samples", None), ("optimizer_steps", None), ("not_finite", []))
    }
    joined = {name: ", ".join(distinct) for name, distinct in versions.items()}
    return {**conditions, "versions": joined}


def warnings_of(comparison: dict[str, Any]) -> list[str]:
    """One per condition that makes a comparison unfair."""
    warnings = []
    for key, words in (("optimizer_steps", "optimizer steps"), ("samples", "validation images")):
        if len({number for numbers in comparison[key].values() for number in numbers}) > 1:
            text = "; ".join(
                f"{method} {', '.join(map(str, numbers))}"
                for method, numbers in comparison[key].items()
            )
            warnings.append(f"Not like for like: the numbers of {words} differ ({text}).")
    for method, by_seed in comparison["not_finite"].items():
        for seed, spaces in zip(comparison["seeds"], by_seed, strict=True):
            if spaces:
                warnings.append(
                    f"{method}, seed {seed}: {', '.join(spaces)} hold values that are not finite "
                    "and are left out. Did training diverge?"
                )
    for name, versions in comparison["versions"].items():
        if ", " in versions:
            warnings.append(f"Not like for like: runs were evaluated with {name} {versions}.")
    return warnings


def model_warnings(evaluations: Evaluations) -> list[str]:
    """What each evaluation says of its model; `warnings_of` has those with non-finite values."""
    return [
        f"{method}, seed {seed}: {warning}"
        for method, runs in evaluations.items()
        for seed, evaluation in sorted(runs.items())
        if not evaluation.get("not_finite")
        for warning in evaluation.get("warnings", [])
    ]
