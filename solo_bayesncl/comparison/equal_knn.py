"""Consistency at equal kNN accuracy: between codes that are as accurate, whatever their length."""

from itertools import pairwise
from typing import Any

from solo_bayesncl.evaluation.lengths import AS_TRAINED, LENGTHS

Evaluation = dict[str, Any]
Points = list[tuple[float, float]]  # (kNN accuracy, consistency), from long codes to short ones

CONSISTENCIES = ("adjusted_consistency", "weighted_consistency")


def at_equal_knn(evaluations: dict[str, Evaluation]) -> dict[str, dict[str, float | None]]:
    """The consistency of methods at a kNN accuracy of the codes that all of them reach.

    The level is the highest that every method with non-negative codes and without a warning
    reaches, at some length or as trained. A value is the highest consistency of a method at this
    level or above, along the line through its lengths: docs/compare.md has the formulas.

    Args:
        evaluations: of each method at one seed.

    Returns:
        method -> `level` in percent and the `CONSISTENCIES`, None where the method does not reach
        the level; empty with fewer than two methods that are measured at lengths.
    """
    best = {
        method: max(accuracies)
        for method, evaluation in evaluations.items()
        if (accuracies := [knn for knn, _ in _points(evaluation, CONSISTENCIES[0])])
    }
    if len(best) < 2:
        return {}
    sound = [best[method] for method in best if _is_sound(evaluations[method])]
    level = min(sound or best.values())
    return {
        method: {"level": level}
        | {
            name: highest_consistency(_points(evaluations[method], name), level)
            for name in CONSISTENCIES
        }
        for method in best
    }


def highest_consistency(points: Points, level: float) -> float | None:
    """The highest consistency at a kNN accuracy of at least `level`, None if there is none.

    Args:
        points: (kNN accuracy, consistency) in the order of their lengths, between which both are
            interpolated linearly.
        level: a kNN accuracy in the same unit.
    """
    candidates = [consistency for knn, consistency in points if knn >= level]
    for (knn, consistency), (next_knn, next_consistency) in pairwise(points):
        if (knn - level) * (next_knn - level) < 0:
            share = (level - knn) / (next_knn - knn)
            candidates.append(consistency + share * (next_consistency - consistency))
    return max(candidates, default=None)


def _points(evaluation: Evaluation, name: str) -> Points:
    lengths = evaluation.get("code_lengths") or {}
    rows = (lengths.get(str(length), {}) for length in (AS_TRAINED, *reversed(LENGTHS)))
    pairs = ((row.get("knn"), row.get(name)) for row in rows)
    return [(knn, consistency) for knn, consistency in pairs if None not in (knn, consistency)]


def _is_sound(evaluation: Evaluation) -> bool:
    """Whether the level depends on it: non-negative codes of a model without a warning.

    The warning of images that are left out is about the data.
    """
    left_out = bool(evaluation.get("skipped_images", {}).get("number"))
    of_model = len(evaluation.get("warnings", [])) - left_out
    return evaluation["codes"].get("non_negative_ratio") == 1 and of_model <= 0
