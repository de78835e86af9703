"""All metrics of a data set that comes in batches, in one process or many."""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from solo_bayesncl.errors import InputError
from solo_bayesncl.metrics.inputs import check_features, check_labels, check_range
from solo_bayesncl.metrics.statistics import (
    BatchStatistics,
    add_by_class_,
    add_upper_gram_,
    mirror_,
)
from solo_bayesncl.metrics.summary import summary_of


def _gather(state: Tensor, group: Any = None) -> list[Tensor]:
    """Like torchmetrics', but a process that saw no batch counts as zeros instead of failing."""
    return list(torch.broadcast_tensors(*gather_all_tensors(state, group)))


class InterpretabilityMetrics(Metric):
    """Every metric that does not need all samples at once, from one pass over the codes.

    The states are the sums of `Statistics`, about 8 (D^2 + 2 C D) bytes whatever the number of
    samples. `compute` applies the formulas of the functions of the same names to them, so the
    result equals theirs on all samples together.

    Call `update` in a loop; `forward` also computes the metrics of every batch, with a
    decomposition of the D x D Gram matrix each time.

    Args:
        num_classes: C, 1 or more; labels are 0 to C - 1.
        kwargs: those of `torchmetrics.Metric`.

    Example:
        >>> metric = InterpretabilityMetrics(num_classes=2)
        >>> metric.update(torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.tensor([0, 0]))
        >>> metric.update(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 1]))
        >>> metric.compute()["semantic_consistency"]
        tensor(0.5833, dtype=torch.float64)
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    def __init__(self, num_classes: int, **kwargs: Any):
        check_range("num_classes", num_classes, 1)
        super().__init__(**{"dist_sync_fn": _gather, **kwargs})
        self.num_classes = num_classes
        # Until the first batch gives the number of dimensions, states are single zeros, which
        # broadcast.
        zeros = partial(torch.zeros, dtype=torch.float64)
        self.add_state("class_samples", zeros(num_classes), dist_reduce_fx="sum")
        self.add_state("active_counts", zeros(1, 1), dist_reduce_fx="sum")
        self.add_state("activation_sums", zeros(1, 1), dist_reduce_fx="sum")
        self.add_state("non_negative_count", zeros(()), dist_reduce_fx="sum")
        self.add_state("nonzero_rows", zeros(()), dist_reduce_fx="sum")
        self.add_state("norm_ratio_sum", zeros(()), dist_reduce_fx="sum")
        self.add_state("gram", zeros(1, 1), dist_reduce_fx="sum")

    def update(self, codes: Tensor, labels: Tensor) -> None:
        """Adds a batch.

        Args:
            codes: (M, D) float, D the same in every batch.
            labels: (M,) int, 0 to num_classes - 1.
        """
        codes = check_features(codes, "codes")
        labels = check_labels(labels, codes, self.num_classes)
        if self.class_samples.sum() > 0 and codes.size(1) != self.gram.size(1):
            raise InputError(
                f"codes: got {codes.size(1)} dimensions after batches of {self.gram.size(1)}; "
                "give the same number in every batch, or call reset() first."
            )
        if self.active_counts.shape != (self.num_classes, codes.size(1)):
            self._widen(codes.size(1))
        # In place: the Gram matrix of a batch would have as many numbers as that of all. States
        # made in inference mode can be changed in it alone, all others in either mode.
        with torch.inference_mode():
            add_by_class_(self.active_counts, self.activation_sums, codes, labels)
            add_upper_gram_(self.gram, codes)
        batch = BatchStatistics(codes, labels, self.num_classes)
        for name in ("class_samples", "non_negative_count", "nonzero_rows", "norm_ratio_sum"):
            setattr(self, name, getattr(self, name) + getattr(batch, name))

    def set_dtype(self, dst_type: torch.dtype | str) -> "InterpretabilityMetrics":
        """Leaves the states in float64: in other types, counts are not exact."""
        return self

    def _widen(self, num_dims: int) -> None:
        """Gives the states that are single zeros the size for `num_dims` dimensions."""
        for name, rows in (
            ("active_counts", self.num_classes),
            ("activation_sums", self.num_classes),
            ("gram", num_dims),
        ):
            setattr(self, name, getattr(self, name).new_zeros(rows, num_dims))

    def compute(self) -> dict[str, Tensor]:
        """The metrics of all batches by name, as `summary`; `InputError` before the first one."""
        if self.class_samples.sum() == 0:
            raise InputError(
                "InterpretabilityMetrics: no samples yet; call update() before compute()."
            )
        with torch.inference_mode():  # see `update`
            mirror_(self.gram)
        return summary_of(self)

    @property
    def squared_singular_values(self) -> Tensor:
        return torch.linalg.eigvalsh(self.gram)
