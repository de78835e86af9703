"""Every number that an evaluation reports: where it stands, what it is called, how to read it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

SPACES = {
    "backbone": "backbone features",
    "projections": "projections",
    "gate": "gate",
    "codes": "codes",
}


@dataclass(frozen=True)
class Metric:
    """One number of `evaluation.json`.

    Attributes:
        path: where it stands there, from the outside in.
        label: what it is called in tables.
        unit: share (0..1, printed in percent), percent, count, nats or number.
        better: higher, lower, or None where neither is better by itself.
        headline: whether tables show it first.
    """

    path: tuple[str, ...]
    label: str
    unit: str
    better: str | None = None
    headline: bool = False

    @property
    def key(self) -> str:
        return ".".join(self.path)

    def of(self, evaluation: dict[str, Any]) -> float | None:
        """Its value in an evaluation, None where it has none."""
        value: Any = evaluation
        for name in self.path:
            value = value.get(name) if isinstance(value, dict) else None
        return value


# of a space: name, label, unit, better
_CLASS_BASED = (
    ("semantic_consistency", "semantic consistency", "share", "higher"),
    ("shuffled_label_null", "semantic consistency, labels shuffled", "share", None),
    ("adjusted_consistency", "chance-adjusted consistency", "share", "higher"),
    ("weighted_consistency", "consistency weighted by active samples", "share", "higher"),
    ("activation_weighted_consistency", "consistency weighted by activation", "share", "higher"),
    (
        "support_thresholded_consistency",
        "consistency of dimensions active on 1 % or more",
        "share",
        "higher",
    ),
    ("paired_dims", "dimensions in the chance-adjusted consistency", "count", None),
    ("supported_dims", "dimensions active on 1 % or more", "count", None),
    ("semantic_entropy_sum", "semantic entropy (sum)", "nats", "lower"),
    ("semantic_entropy_mean", "semantic entropy (mean)", "nats", "lower"),
    ("semantic_entropy_frequency", "semantic entropy (frequency)", "nats", "lower"),
    ("class_coverage", "classes that own a dimension", "count", "higher"),
)
_OF_A_SPACE = (
    *_CLASS_BASED,
    ("monosemanticity", "monosemanticity", "number", "higher"),
    ("monosemanticity_chance", "monosemanticity of chance", "number", None),
    ("active_dims", "live dimensions", "count", None),
    ("dead_dims", "dead dimensions", "count", None),
    ("code_length", "active dimensions per sample (L0)", "number", None),
    ("activation_sparsity", "activation sparsity", "share", None),
    ("hoyer_sparsity", "Hoyer sparsity", "number", None),
    ("non_negative_ratio", "non-negative entries", "share", None),
    ("effective_rank", "effective rank", "nats", None),
    ("orthogonality_mean", "orthogonality (official mean)", "number", "lower"),
    ("orthogonality_median", "orthogonality (official median)", "number", "lower"),
    ("orthogonality_mean_abs_cosine", "mean |cosine| between dimensions", "number", "lower"),
)
_OF_CODES = (
    ("mean_average_precision", "retrieval, mean average precision", "share", "higher"),
    *(
        (f"retrieval_precision_at_{k}", f"retrieval precision@{k}", "share", "higher")
        for k in (1, 3, 5, 10)
    ),
)
_HEADLINES = (
    "codes.semantic_consistency",
    "codes.shuffled_label_null",
    "codes.adjusted_consistency",
    "codes.weighted_consistency",
    "codes.support_thresholded_consistency",
    "codes.semantic_entropy_sum",
    "codes.class_coverage",
    "codes.monosemanticity",
    "codes.active_dims",
    "codes.code_length",
    "codes.retrieval_precision_at_1",
    "codes.mean_average_precision",
)


def _space_metrics() -> Iterable[Metric]:
    for space, words in reversed(SPACES.items()):
        names = _OF_A_SPACE
        if space == "codes":
            names = (*_OF_A_SPACE, *_OF_CODES)
        elif space == "backbone":
            names = (*_OF_A_SPACE, _OF_CODES[0])
        for name, label, unit, better in names:
            headline = f"{space}.{name}" in _HEADLINES
            label = label if space == "codes" else f"{words}: {label}"
            yield Metric((space, name), label, unit, better, headline)


def _accuracy(name: str, label: str) -> Metric:
    return Metric(("accuracy", name), label, "percent", "higher", headline=True)


METRICS: tuple[Metric, ...] = (
    *_space_metrics(),
    Metric(("gate", "mean_open_probability"), "gate: mean open-probability", "share"),
    Metric(("gate", "open_rate"), "gate: share of open gates", "share"),
    _accuracy("linear_backbone", "linear probe top-1, backbone"),
    _accuracy("linear_backbone_top5", "linear probe top-5, backbone"),
    _accuracy("knn_backbone", "kNN top-1, backbone"),
    _accuracy("online_classifier", "online linear classifier top-1"),
    _accuracy("knn_codes", "kNN top-1, codes"),
    _accuracy("probe_codes", "linear probe top-1, codes"),
)

# the same with the levels of a factor in place of classes, where neither way is better
_OF_A_FACTOR = (
    *(
        (name, label.replace("classes", "levels").replace("labels", "levels"), unit)
        for name, label, unit, _ in _CLASS_BASED
    ),
    ("mutual_information_mean", "mutual information, mean", "nats"),
    ("mutual_information_max", "mutual information, maximum", "nats"),
)


def reported_in(evaluations: Iterable[dict[str, Any]]) -> tuple[Metric, ...]:
    """The metrics that any of these evaluations has a value of, factors' last."""
    evaluations = list(evaluations)
    factors = {name: None for e in evaluations for name in e.get("factors") or {}}
    of_factors = (
        Metric(("factors", factor, space, name), f"{factor}, {SPACES[space]}: {label}", unit)
        for factor in factors
        for space in SPACES
        for name, label, unit in _OF_A_FACTOR
    )
    candidates = (*METRICS, *of_factors)
    return tuple(m for m in candidates if any(m.of(e) is not None for e in evaluations))
