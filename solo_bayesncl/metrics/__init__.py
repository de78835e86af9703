"""Interpretability metrics of codes: functions of (features, labels) and one streaming class.

Functions take a whole split at once; `InterpretabilityMetrics` takes batches, in one process or
many, and computes the same values. Unless a docstring says otherwise:

- `features` is (M, D) float, M samples of D dimensions; `labels` is (M,) int, >= 0.
- Results are float64 scalars, NaN where undefined; shares are 0..1, entropies in nats.
- `InputError` is raised for features that are empty, not a matrix or not finite, for labels that
  are not one integer >= 0 per row, and for other arguments out of range.
- An entry is active if |value| > `ACTIVE`; n_cd counts the samples of class c on which dimension d
  is active, n_d those of all classes. A dimension is live if n_d > 0, otherwise dead.
- "Official" is what the official evaluation of NCL computes; metrics without that note are
  additions. docs/metrics.md says how to read each of them.

Torch and torchmetrics are the only dependencies.
"""

from solo_bayesncl.metrics.activity import (
    activation_sparsity,
    active_dims,
    code_length,
    dead_dims,
    hoyer_sparsity,
    non_negative_ratio,
)
from solo_bayesncl.metrics.consistency import (
    activation_weighted_consistency,
    adjusted_consistency,
    class_coverage,
    paired_dims,
    semantic_consistency,
    shuffled_label_null,
    support_thresholded_consistency,
    supported_dims,
    weighted_consistency,
)
from solo_bayesncl.metrics.entropy import semantic_entropy
from solo_bayesncl.metrics.factors import Levels, levels_of, mutual_information
from solo_bayesncl.metrics.geometry import Orthogonality, effective_rank, orthogonality
from solo_bayesncl.metrics.lengths import apply_cut, cut, cut_threshold
from solo_bayesncl.metrics.monosemanticity import Monosemanticity, monosemanticity
from solo_bayesncl.metrics.retrieval import mean_average_precision, retrieval_precision
from solo_bayesncl.metrics.statistics import ACTIVE
from solo_bayesncl.metrics.streaming import InterpretabilityMetrics
from solo_bayesncl.metrics.summary import class_based_summary, per_dimension, summary

__all__ = [
    "ACTIVE",
    "InterpretabilityMetrics",
    "summary",
    "class_based_summary",
    "per_dimension",
    "cut",
    "cut_threshold",
    "apply_cut",
    "semantic_consistency",
    "adjusted_consistency",
    "paired_dims",
    "weighted_consistency",
    "activation_weighted_consistency",
    "support_thresholded_consistency",
    "supported_dims",
    "shuffled_label_null",
    "semantic_entropy",
    "class_coverage",
    "active_dims",
    "dead_dims",
    "code_length",
    "activation_sparsity",
    "hoyer_sparsity",
    "non_negative_ratio",
    "effective_rank",
    "orthogonality",
    "Orthogonality",
    "mutual_information",
    "levels_of",
    "Levels",
    "monosemanticity",
    "Monosemanticity",
    "retrieval_precision",
    "mean_average_precision",
]
