"""What a comparison shows, and what makes it unfair, in sentences."""

from collections.abc import Sequence
from itertools import chain, pairwise
from statistics import fmean
from typing import Any

from solo_bayesncl.comparison.statistics import CONFIDENCE, SEEDS_TO_JUDGE, Evaluations
from solo_bayesncl.evaluation.lengths import HEADLINE_LENGTH, LENGTHS
from solo_bayesncl.report.formats import formatted, formatted_difference, formatted_interval

CODE_LENGTH = "codes.code_length"
KNN_LEVEL = "equal_knn.level"
BACKBONE = ("accuracy.linear_backbone", "accuracy.knn_backbone")
# metrics that sentences are about, with their name at equal length where that is described, too
_DESCRIBED = {
    "codes.adjusted_consistency": "adjusted_consistency",
    "equal_knn.adjusted_consistency": None,
    "codes.semantic_consistency": "semantic_consistency",
    CODE_LENGTH: None,
    **dict.fromkeys(BACKBONE),
}

Difference = dict[str, Any]  # an entry of `differences`


def sentences(comparison: dict[str, Any]) -> list[str]:
    """One per metric and pair of methods: means, difference and verdict.

    Pairs are neighbouring methods, and the last method with each control. Consistency has one as
    trained and one at equal length, and a third if they disagree on which method is ahead.
    """
    metrics = {metric["key"]: metric for metric in comparison["metrics"]}
    seeds = len(comparison["seeds"])
    controls = _controls(comparison)
    methods = [method for method in comparison["methods"] if method not in controls]
    result = []
    for other, method in [*pairwise(methods), *((methods[-1], control) for control in controls)]:
        differences = {
            d["metric"]: d
            for d in comparison["differences"]
            if (d["method"], d["against"]) == (method, other) and d["mean"] is not None
        }
        if method in controls:  # its backbone is that of the method that it is fitted to
            differences = {key: d for key, d in differences.items() if key not in BACKBONE}
        for key in filter(differences.__contains__, _DESCRIBED):
            values = {m: comparison["values"][m] for m in (method, other)}
            cut = _at_equal_length(key, differences)
            where = " as trained" if cut else ""
            if key.startswith("equal_knn"):
                level = _paired_means(values, KNN_LEVEL, at=key)[method]
                where = f" ({formatted(level, 'percent')})"
            means = _paired_means(values, key, at=key)
            result.append(_sentence(metrics[key], where, means, differences[key], seeds))
            if cut:
                means = _paired_means(values, cut, at=cut)
                result.append(_sentence(metrics[cut], "", means, differences[cut], seeds))
                both = differences[key], differences[cut]
                if both[0]["mean"] * both[1]["mean"] < 0:
                    lengths = _paired_means(values, CODE_LENGTH, at=key)
                    result.append(_reversal(metrics[key], both, lengths))
    return result


def _controls(comparison: dict[str, Any]) -> list[str]:
    settings = comparison.get("settings", {})
    return [name for name in comparison["methods"] if "control" in settings.get(name, {})]


def _paired_means(
    values: dict[str, dict[str, Sequence[float | None]]], key: str, at: str
) -> dict[str, float]:
    """Means of methods over the seeds at which all have the metric `at`, as their difference is."""
    by_seed = zip(*(columns[at] for columns in values.values()), strict=True)
    paired = [place for place, row in enumerate(by_seed) if None not in row]
    return {
        method: fmean(columns[key][place] for place in paired)
        for method, columns in values.items()
        if key in columns and None not in (columns[key][place] for place in paired)
    }


def _at_equal_length(key: str, differences: dict[str, Difference]) -> str | None:
    """The key of a metric at the headline length, or at the next shorter one of all its seeds."""
    lengths = (length for length in reversed(LENGTHS) if length <= HEADLINE_LENGTH)
    keys = (f"code_lengths.{length}.{_DESCRIBED[key]}" for length in lengths)
    found = (cut for cut in keys if differences.get(cut, {}).get("n") == differences[key]["n"])
    return next(found, None)


def _sentence(
    metric: dict[str, Any],
    where: str,
    means: dict[str, float],
    difference: Difference,
    all_seeds: int,
) -> str:
    unit = metric["unit"]
    text = ", ".join(f"{method} {formatted(mean, unit)}" for method, mean in means.items())
    text = f"{_capitalised(metric['label'])}{where}: {text}"
    seeds = difference["n"]
    if seeds < 2:
        return f"{text}. One seed: no interval, so the difference is not judged."
    mean = formatted_difference(difference["mean"], unit)
    interval = formatted_interval(difference["low"], difference["high"], unit)
    of_all = "" if seeds == all_seeds else f"of {all_seeds} "
    interval = f"{100 * CONFIDENCE:.0f} % interval {interval} over {seeds} {of_all}seeds"
    if seeds < SEEDS_TO_JUDGE:
        return f"{text}. Difference {mean}, {interval}: not judged below {SEEDS_TO_JUDGE}."
    if difference["significant"] is None:
        return f"{text}. Difference {mean} at every seed: without spread it is not judged."
    verdict = "a" if difference["significant"] else "no"
    return f"{text}. Difference {mean}, {interval}: {verdict} significant difference."


def _reversal(
    metric: dict[str, Any],
    differences: tuple[Difference, Difference],
    code_lengths: dict[str, float],
) -> str:
    """For differences as trained and at equal length whose signs differ."""
    as_trained, cut = differences
    ahead = [as_trained["method"], as_trained["against"]]
    if as_trained["mean"] < 0:
        ahead.reverse()
    certain = as_trained["significant"] and cut["significant"]
    text = (
        f"{_capitalised(metric['label'])}{'' if certain else ', by the means alone'}: as trained "
        f"{ahead[0]} is ahead, at equal length {ahead[1]} is."
    )
    shorter, longer = map(code_lengths.get, ahead)
    if None in (shorter, longer) or shorter >= longer:
        return text
    return (
        f"{text} Shorter codes score higher by themselves: as trained, those of {ahead[0]} have "
        f"{formatted(shorter, 'number')} active dimensions, those of {ahead[1]} "
        f"{formatted(longer, 'number')}."
    )


def _capitalised(label: str) -> str:
    """A label at the start of a sentence; that of kNN stays."""
    return label[0].upper() + label[1:] if label[1].islower() else label


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
