"""What a comparison shows, and what makes it unfair, in sentences."""

from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from statistics import fmean
from typing import Any, NamedTuple

from solo_bayesncl.comparison.statistics import (
    CONFIDENCE,
    SEEDS_TO_JUDGE,
    Evaluations,
    is_clear,
    paired_difference,
)
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


# of these, a page shows the clear ones, in this order; so many, and so many of a metric
_REVERSAL = "reversal"
_HIGHLIGHTED = (
    _REVERSAL,
    f"code_lengths.{HEADLINE_LENGTH}.adjusted_consistency",
    "codes.adjusted_consistency",
    *BACKBONE,
)
HIGHLIGHTS, OF_A_METRIC = 5, 2


class Statement(NamedTuple):
    """A sentence on a pair of methods.

    Attributes:
        pair: the methods.
        metric: the key of what it is about.
        text: the sentence.
        clear: whether other seeds would hardly turn it round.
        short: the sentence without the verdict.
    """

    pair: tuple[str, str]
    metric: str
    text: str
    clear: bool
    short: str


def sentences(comparison: dict[str, Any]) -> list[str]:
    """One per metric and pair of methods: means, difference and verdict.

    Pairs are neighbouring methods, and the last method with each control. Consistency has one as
    trained and one at equal length, and a third if they disagree on which method is ahead.
    """
    return [statement.text for statement in _statements(comparison)]


def highlights(comparison: dict[str, Any]) -> list[str]:
    """The few of `sentences` that a reader should not miss, all of clear differences."""
    clear = [s for s in _statements(comparison) if s.clear]
    of_metrics = ([s.short for s in clear if s.metric == key] for key in _HIGHLIGHTED)
    return [*chain.from_iterable(texts[:OF_A_METRIC] for texts in of_metrics)][:HIGHLIGHTS]


def conclusions(comparison: dict[str, Any]) -> list[str]:
    """What a terminal shows below the table: highlights, pairs without any, and warnings."""
    lines = [f"Differences are not judged below {SEEDS_TO_JUDGE} seeds."]
    if len(comparison["seeds"]) >= SEEDS_TO_JUDGE:
        shown = comparison["highlights"]
        lines = ["Clear differences:", *(f"- {text}" for text in shown)] if shown else []
        statements = [s for s in _statements(comparison) if s.metric in _HIGHLIGHTED]
        clear = {statement.pair for statement in statements if statement.clear}
        for method, other in dict.fromkeys(statement.pair for statement in statements):
            if (method, other) not in clear:
                lines.append(
                    f"{method} and {other}: no clear difference in chance-adjusted consistency, as "
                    "trained or at equal length, or in the accuracy of the backbone."
                )
    return [*lines, *comparison.get("printed", {}).get("notes", []), *comparison["warnings"]]


def _statements(comparison: dict[str, Any]) -> Iterator[Statement]:
    metrics = {metric["key"]: metric for metric in comparison["metrics"]}
    seeds = len(comparison["seeds"])
    controls = _controls(comparison)
    methods = [method for method in comparison["methods"] if method not in controls]
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
            yield _statement(metrics[key], where, means, differences[key], seeds)
            if cut:
                means = _paired_means(values, cut, at=cut)
                yield _statement(metrics[cut], "", means, differences[cut], seeds)
                both = differences[key], differences[cut]
                taken = _taken_by_length(values, key, cut)
                if _is_lost(*both, taken):
                    lengths = _paired_means(values, CODE_LENGTH, at=key)
                    yield _reversal(metrics[key], both, taken, lengths)


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


def _statement(
    metric: dict[str, Any],
    where: str,
    means: dict[str, float],
    difference: Difference,
    all_seeds: int,
) -> Statement:
    unit = metric["unit"]
    text = ", ".join(f"{method} {formatted(mean, unit)}" for method, mean in means.items())
    text = f"{_capitalised(metric['label'])}{where}: {text}"
    verdict = _verdict(difference, unit, all_seeds)
    short = f"{text}{verdict.partition(' over ')[0]}."
    pair = (difference["method"], difference["against"])
    return Statement(pair, metric["key"], f"{text}{verdict}", is_clear(difference), short)


def _verdict(difference: Difference, unit: str, all_seeds: int) -> str:
    seeds = difference["n"]
    if seeds < 2:
        return ". One seed: no interval, so the difference is not judged."
    mean = formatted_difference(difference["mean"], unit)
    interval = formatted_interval(difference["low"], difference["high"], unit)
    of_all = "" if seeds == all_seeds else f"of {all_seeds} "
    interval = f"{100 * CONFIDENCE:.0f} % interval {interval} over {seeds} {of_all}seeds"
    if seeds < SEEDS_TO_JUDGE:
        return f". Difference {mean}, {interval}: not judged below {SEEDS_TO_JUDGE}."
    if difference["significant"] is None:
        return f". Difference {mean} at every seed: without spread it is not judged."
    verdict = "a" if difference["significant"] else "no"
    return f". Difference {mean}, {interval}: {verdict} significant difference."


def _taken_by_length(
    values: dict[str, dict[str, Sequence[float | None]]], key: str, cut: str
) -> Difference:
    """How much of the difference as trained is not there at equal length, paired by seed."""
    as_trained, at_equal_length = (
        [None if None in pair else pair[0] - pair[1] for pair in zip(*columns, strict=True)]
        for columns in ([of[name] for of in values.values()] for name in (key, cut))
    )
    return paired_difference(as_trained, at_equal_length)


def _is_lost(as_trained: Difference, cut: Difference, taken: Difference) -> bool:
    """Whether equal length turns a difference round, or clearly takes more than half of it."""
    turned = as_trained["mean"] * cut["mean"] < 0
    halved = abs(cut["mean"]) < abs(as_trained["mean"]) / 2
    return turned or (halved and is_clear(as_trained) and is_clear(taken))


def _reversal(
    metric: dict[str, Any],
    differences: tuple[Difference, Difference],
    taken: Difference,
    code_lengths: dict[str, float],
) -> Statement:
    """For a difference as trained that is lost at equal length."""
    as_trained, cut = differences
    ahead = [as_trained["method"], as_trained["against"]]
    sign = 1 if as_trained["mean"] > 0 else -1
    ahead = ahead[::sign]
    start = _capitalised(metric["label"])
    clear = is_clear(as_trained) and is_clear(taken)
    if as_trained["mean"] * cut["mean"] < 0 and is_clear(as_trained) and is_clear(cut):
        text = f"{start}: as trained {ahead[0]} is ahead, at equal length {ahead[1]} is."
    elif clear:
        lead, left = (formatted_difference(sign * d["mean"], metric["unit"]) for d in differences)
        text = (
            f"{start}: the difference between {ahead[0]} and {ahead[1]} is {lead} as trained and "
            f"{left} at equal length."
        )
    else:
        text = (
            f"{start}, by the means alone: as trained {ahead[0]} is ahead, at equal length "
            f"{ahead[1]} is."
        )
    shorter, longer = map(code_lengths.get, ahead)
    if None not in (shorter, longer) and shorter < longer:
        text += (
            f" Shorter codes score higher by themselves: as trained, those of {ahead[0]} have "
            f"{formatted(shorter, 'number')} active dimensions, those of {ahead[1]} "
            f"{formatted(longer, 'number')}."
        )
    pair = (as_trained["method"], as_trained["against"])
    return Statement(pair, _REVERSAL, text, clear, short=text)


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
