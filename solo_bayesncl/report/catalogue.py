"""Every number that a report shows: where it is stored, its label, its unit and how to read it.

The one list of metrics: tables, figures, the page and sentences select from it by attribute.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

from solo_bayesncl.evaluation.lengths import AS_TRAINED, HEADLINE_LENGTH, LENGTHS

SPACES = {
    "backbone": "backbone features",
    "projections": "projections",
    "gate": "gate",
    "codes": "codes",
}


class Shown(IntEnum):
    """The most prominent place where a comparison shows a metric; lower places show it, too."""

    FOLDED = 0
    TABLES = 1
    FIGURE = 2
    SENTENCES = 3


FOLDED, TABLES, FIGURE, SENTENCES = Shown


@dataclass(frozen=True)
class Entry:
    """A number in a JSON record.

    Attributes:
        name: its key in the innermost object.
        label: its name in tables and figures.
        unit: share (0..1, printed in percent), percent, count, nats or number.
        place: keys of the objects around it, from the outside in.
    """

    name: str
    label: str
    unit: str
    place: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def path(self) -> tuple[str, ...]:
        return (*self.place, self.name)

    @property
    def key(self) -> str:
        return ".".join(self.path)

    def of(self, record: dict[str, Any]) -> float | None:
        """Its value in a record, None where it has none."""
        value: Any = record
        for name in self.path:
            value = value.get(name) if isinstance(value, dict) else None
        return value


@dataclass(frozen=True)
class Metric(Entry):
    """A number in `evaluation.json`.

    Attributes:
        better: higher, lower, or None where neither is better by itself.
        shown: how prominently a comparison shows it.
        chance: key and label of the metric that is its value at chance.
        about_gates: whether it is in the page's table of gates.
        common: whether methods share its value, so that there are no differences between them.
    """

    better: str | None = None
    shown: Shown = FOLDED
    chance: tuple[str, str] | None = None
    about_gates: bool = False
    common: bool = False

    @property
    def headline(self) -> bool:
        return self.shown >= TABLES


# of (codes, labels); for factors, levels take the place of labels
_CLASS_BASED = (
    Metric("semantic_consistency", "semantic consistency", "share", "higher", SENTENCES,
           chance=("codes.shuffled_label_null", "shuffled labels")),
    Metric("shuffled_label_null", "semantic consistency, labels shuffled", "share", None, TABLES),
    Metric("adjusted_consistency", "chance-adjusted consistency", "share", "higher", SENTENCES),
    Metric("weighted_consistency", "consistency weighted by active samples", "share", "higher",
           TABLES),
    Metric("activation_weighted_consistency", "consistency weighted by activation", "share",
           "higher"),
    Metric("support_thresholded_consistency", "consistency of dimensions active on 1 % or more",
           "share", "higher", TABLES),
    Metric("paired_dims", "dimensions in the chance-adjusted consistency", "count"),
    Metric("supported_dims", "dimensions active on 1 % or more", "count"),
    Metric("semantic_entropy_sum", "semantic entropy (sum)", "nats", "lower", FIGURE),
    Metric("semantic_entropy_mean", "semantic entropy (mean)", "nats", "lower"),
    Metric("semantic_entropy_frequency", "semantic entropy (frequency)", "nats", "lower"),
    Metric("class_coverage", "classes that own a dimension", "count", "higher", TABLES),
)  # fmt: skip
_RETRIEVAL = (
    Metric("mean_average_precision", "retrieval, mean average precision", "share", "higher",
           TABLES),
    Metric("retrieval_precision_at_1", "retrieval precision@1", "share", "higher", TABLES),
    Metric("retrieval_precision_at_3", "retrieval precision@3", "share", "higher"),
    Metric("retrieval_precision_at_5", "retrieval precision@5", "share", "higher"),
    Metric("retrieval_precision_at_10", "retrieval precision@10", "share", "higher"),
)  # fmt: skip
_OF_EACH_SPACE = (
    *_CLASS_BASED,
    Metric("monosemanticity", "monosemanticity", "number", "higher", FIGURE,
           chance=("codes.monosemanticity_chance", "all image pairs")),
    Metric("monosemanticity_chance", "monosemanticity of chance", "number"),
    Metric("active_dims", "live dimensions", "count", None, FIGURE),
    Metric("dead_dims", "dead dimensions", "count", about_gates=True),
    Metric("code_length", "active dimensions per sample (L0)", "number", None, SENTENCES,
           about_gates=True),
    Metric("activation_sparsity", "activation sparsity", "share"),
    Metric("hoyer_sparsity", "Hoyer sparsity", "number"),
    Metric("non_negative_ratio", "non-negative entries", "share"),
    Metric("effective_rank", "effective rank", "nats"),
    Metric("orthogonality_mean", "orthogonality (official mean)", "number", "lower"),
    Metric("orthogonality_median", "orthogonality (official median)", "number", "lower"),
    Metric("orthogonality_mean_abs_cosine", "mean |cosine| between dimensions", "number", "lower"),
)  # fmt: skip
_ACCURACIES = (
    Metric("linear_backbone", "linear probe top-1, backbone", "percent", "higher", SENTENCES),
    Metric("linear_backbone_top5", "linear probe top-5, backbone", "percent", "higher", TABLES),
    Metric("knn_backbone", "kNN top-1, backbone", "percent", "higher", SENTENCES),
    Metric("online_classifier", "online linear classifier top-1", "percent", "higher", TABLES),
    # as trained, tables show the kNN of `OF_EACH_LENGTH`, which has the same neighbours as cut
    Metric("knn_codes", "kNN top-1, codes", "percent", "higher"),
    Metric("probe_codes", "linear probe top-1, codes", "percent", "higher", FIGURE),
)
# what of `_OF_EACH_SPACE` is measured at each length, and how it is shown at the headline length
_SHOWN_AT_LENGTH = {
    "semantic_consistency": SENTENCES,
    "shuffled_label_null": TABLES,
    "adjusted_consistency": SENTENCES,
    "paired_dims": FOLDED,
    "weighted_consistency": TABLES,
    "active_dims": TABLES,
    "code_length": FOLDED,
}
OF_EACH_LENGTH = (
    *(
        replace(metric, shown=_SHOWN_AT_LENGTH[metric.name], about_gates=False)
        for metric in _OF_EACH_SPACE
        if metric.name in _SHOWN_AT_LENGTH
    ),
    Metric("empty", "empty codes", "share"),
    Metric("threshold", "threshold of the cut", "number"),
    Metric("knn", "kNN top-1, codes", "percent", "higher", TABLES),
    Metric("probe", "linear probe top-1, codes", "percent", "higher", TABLES),
)
_INFORMATION = (
    Metric("mutual_information_mean", "mutual information, mean", "nats"),
    Metric("mutual_information_max", "mutual information, maximum", "nats"),
)
_GATES = (
    Metric("mean_open_probability", "gate: mean open-probability", "share", about_gates=True),
    Metric("open_rate", "gate: share of open gates", "share", about_gates=True),
)


def _in(space: str, metrics: Iterable[Metric]) -> Iterable[Metric]:
    """The metrics of a space other than the codes, which a comparison folds away."""
    for m in metrics:
        yield Metric(m.name, f"{SPACES[space]}: {m.label}", m.unit, m.better, place=(space,))


def _at(length: str, metric: Metric) -> Metric:
    """A metric of the codes cut to a length, or as trained."""
    words = "as trained" if length == AS_TRAINED else f"at length {length}"
    # `knn_codes` has more neighbours than the cut codes, so it is not shown beside them
    prominent = length == str(HEADLINE_LENGTH) or (length, metric.name) == (AS_TRAINED, "knn")
    key, label = metric.chance or ("", "")
    return replace(
        metric,
        label=f"{metric.label} {words}",
        place=("code_lengths", length),
        shown=metric.shown if prominent else FOLDED,
        chance=(key.replace("codes", f"code_lengths.{length}"), label) if key else None,
    )


_AT_LENGTHS = tuple(
    _at(str(length), metric) for length in (AS_TRAINED, *LENGTHS) for metric in OF_EACH_LENGTH
)


def _beside_cut(place: str, metrics: Iterable[Metric]) -> Iterable[Metric]:
    """Metrics of the codes as trained, each followed by the same at the headline length."""
    for metric in metrics:
        yield replace(metric, place=(place,))
        name = metric.name.removesuffix("_codes")
        yield from (cut for cut in _AT_LENGTHS if cut.headline and cut.name == name)


METRICS: tuple[Metric, ...] = (
    *_beside_cut("codes", (*_OF_EACH_SPACE, *_RETRIEVAL)),
    *_in("gate", _OF_EACH_SPACE),
    *_in("projections", _OF_EACH_SPACE),
    *_in("backbone", (*_OF_EACH_SPACE, _RETRIEVAL[0])),
    *(replace(metric, place=("gate",)) for metric in _GATES),
    *_beside_cut("accuracy", _ACCURACIES),
    *(metric for metric in _AT_LENGTHS if not metric.headline),
)

# numbers that a comparison adds to its evaluations, see `comparison.equal_knn`
AT_EQUAL_KNN = (
    Metric("level", "kNN top-1, codes, common level", "percent", None, TABLES,
           place=("equal_knn",), common=True),
    Metric("adjusted_consistency", "chance-adjusted consistency at equal kNN", "share", "higher",
           SENTENCES, place=("equal_knn",)),
    Metric("weighted_consistency", "consistency weighted by active samples at equal kNN", "share",
           "higher", TABLES, place=("equal_knn",)),
)  # fmt: skip


def reported_in(evaluations: Iterable[dict[str, Any]]) -> tuple[Metric, ...]:
    """The metrics that any of these evaluations has a value of, those of factors last."""
    evaluations = list(evaluations)
    factors = dict.fromkeys(name for e in evaluations for name in e.get("factors") or {})
    # neither direction is better: information on the background is not a merit by itself
    of_factors = (
        Metric(
            metric.name,
            f"{factor}, {SPACES[space]}: "
            + metric.label.replace("classes", "levels").replace("labels", "levels"),
            metric.unit,
            place=("factors", factor, space),
        )
        for factor in factors
        for space in SPACES
        for metric in (*_CLASS_BASED, *_INFORMATION)
    )
    candidates = (*METRICS, *AT_EQUAL_KNN, *of_factors)
    return tuple(m for m in candidates if any(m.of(e) is not None for e in evaluations))


@dataclass(frozen=True)
class DimensionField(Entry):
    """A number of a dimension in `dimensions.json`.

    Attributes:
        meaning: what it is, for the page.
        on_card: whether the dimension's card shows it, besides its dialog.
    """

    meaning: str
    on_card: bool = False


DIMENSION_FIELDS = (
    DimensionField("consistency", "consistency", "share",
                   "share of its most frequent class among the images that activate it", True),
    DimensionField("adjusted_consistency", "adjusted consistency", "share",
                   "whether two images that activate it share a class: 0 % at chance, 100 % always",
                   True),
    DimensionField("density", "density", "share", "share of all images that activate it", True),
    DimensionField("support", "support", "count", "number of images that activate it", True),
    DimensionField("entropy", "entropy", "nats",
                   "entropy of its activation over classes; 0 means a single class"),
    DimensionField("monosemanticity", "monosemanticity", "number",
                   "mean cosine similarity, in a reference model, of the images that activate it",
                   True),
    DimensionField("open_rate", "gate open rate", "share",
                   "share of all images on which its gate is open", True),
    DimensionField("projection_density", "density before the gate", "share",
                   "share of all images on which its projection, before the gate, is active"),
    DimensionField("mean_activation", "mean activation", "number",
                   "mean over the images that activate it"),
)  # fmt: skip


def information_on(factor: str) -> DimensionField:
    """Mutual information of a dimension with a factor, before the gate if it has one."""
    return DimensionField(
        factor,
        f"information on {factor}",
        "nats",
        "mutual information of its activation, before the gate if there is one, with this factor "
        "of the images; about 0 means none",
        place=("information",),
    )


# columns of `metrics.csv`
CURVES = (
    Entry("train_nce_loss", "InfoNCE", "nats"),
    Entry("train_kl_loss", "KL to the prior", "nats"),
    Entry("train_gate_open_rate", "gate open rate", "share"),
    Entry("semantic_consistency_codes", "consistency of the codes", "share"),
    Entry("val_acc1", "online classifier, validation", "percent"),
)
