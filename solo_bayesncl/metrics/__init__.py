"""Interpretability metrics of codes: functions of (codes, labels) and one streaming twin.

Functions take a whole split at once; `InterpretabilityMetrics` takes batches, in one process or
many, and yields the same values. Shares are 0..1, entropies are in nats. Torch and torchmetrics
only. docs/metrics.md says how to read each of them.
"""

from solo_bayesncl.metrics.activity import (
    activation_sparsity,
    active_dims,
    code_length,
    dead_dims,
    hoyer_sparsity,
    non_negative_ratio,
)
from solo_bayesncl.metrics.adjusted import adjusted_consistency, paired_dims
from solo_bayesncl.metrics.consistency import (
    activation_weighted_consistency,
    semantic_consistency,
    shuffled_label_null,
    support_thresholded_consistency,
    supported_dims,
    weighted_consistency,
)
from solo_bayesncl.metrics.coverage import class_coverage
from solo_bayesncl.metrics.entropy import semantic_entropy
from solo_bayesncl.metrics.factors import Levels, levels_of, mutual_information
from solo_bayesncl.metrics.geometry import Orthogonality, effective_rank, orthogonality
from solo_bayesncl.metrics.monosemanticity import Monosemanticity, monosemanticity
from solo_bayesncl.metrics.per_dimension import per_dimension
from solo_bayesncl.metrics.retrieval import mean_average_precision, retrieval_precision
from solo_bayesncl.metrics.statistics import ACTIVE
from solo_bayesncl.metrics.streaming import InterpretabilityMetrics
from solo_bayesncl.metrics.summary import class_based_summary, summary

__all__ = [
    "ACTIVE",
    "InterpretabilityMetrics",
    "summary",
    "class_based_summary",
    "per_dimension",
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
