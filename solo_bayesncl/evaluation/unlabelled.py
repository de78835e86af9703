"""What is measured of images without labels: everything but what depends on classes."""

from math import nan
from typing import Any

from solo_bayesncl.evaluation.guarded import all_nan
from solo_bayesncl.metrics.summary import CLASS_BASED

_OF_A_SPACE = {*CLASS_BASED, "shuffled_label_null", "mean_average_precision"}
_AT_A_LENGTH = {*CLASS_BASED, "shuffled_label_null", "knn", "probe"}


def without_class_metrics(numbers: dict[str, Any], spaces: list[str]) -> dict[str, Any]:
    """The numbers of `measurement.measure` with NaN for those that depend on labels."""
    of_spaces = {
        space: {
            name: nan if name in _OF_A_SPACE or name.startswith("retrieval_") else value
            for name, value in numbers[space].items()
        }
        for space in spaces
    }
    at_lengths = {
        length: {name: nan if name in _AT_A_LENGTH else value for name, value in row.items()}
        for length, row in numbers["code_lengths"].items()
    }
    undefined = {
        key: all_nan(numbers[key]) for key in ("retrieval", "accuracy", "feature_selection")
    }
    return {**numbers, **of_spaces, **undefined, "code_lengths": at_lengths}
