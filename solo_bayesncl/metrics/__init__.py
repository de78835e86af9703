"""Interpretability metrics of codes: functions of (codes, labels) and one streaming twin.

Functions take a whole split at once; `InterpretabilityMetrics` takes batches, in one process or
many, and yields the same values. Shares are 0..1, entropies are in nats. Torch and torchmetrics
only.
"""

from solo_bayesncl.metrics.activity import (
    activation_sparsity,
    active_dims,
    code_length,
    non_negative_ratio,
)
from solo_bayesncl.metrics.consistency import (
    semantic_consistency,
    shuffled_label_null,
    support_thresholded_consistency,
    weighted_consistency,
)
from solo_bayesncl.metrics.entropy import semantic_entropy
from solo_bayesncl.metrics.geometry import Orthogonality, effective_rank, orthogonality
from solo_bayesncl.metrics.retrieval import retrieval_precision
from solo_bayesncl.metrics.streaming import InterpretabilityMetrics
from solo_bayesncl.metrics.summary import summary

__all__ = [
    "InterpretabilityMetrics",
    "summary",
    "semantic_consistency",
    "weighted_consistency",
    "support_thresholded_consistency",
    "shuffled_label_null",
    "semantic_entropy",
    "active_dims",
    "code_length",
    "activation_sparsity",
    "non_negative_ratio",
    "effective_rank",
    "orthogonality",
    "Orthogonality",
    "retrieval_precision",
]
