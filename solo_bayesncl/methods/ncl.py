"""Non-negative contrastive learning (NCL, ICLR 2024) as a solo-learn method."""

from typing import Any

import torch
from torch import Tensor

from solo_bayesncl.adapters import adapter
from solo_bayesncl.adapters.shared import global_indexes
from solo_bayesncl.methods.mixins import NonNegativeMixin
from solo_bayesncl.objective import Objective, ncl_objective

BaseMethod, SimCLR = adapter().BaseMethod, adapter().SimCLR


class NCL(NonNegativeMixin, SimCLR):
    """SimCLR on non-negative codes.

    Extra cfg settings: `method_kwargs`, see `recipes.method_kwargs.NCLKwargs`.
    """

    def objective(self, out: dict[str, Tensor], indexes: Tensor) -> Objective:
        """Loss terms of all views of a batch.

        Args:
            out: `z` (N, D), the projector's outputs.
            indexes: (N,), equal for the views of one image.
        """
        return ncl_objective(
            out["z"],
            indexes,
            temperature=self.temperature,
            min_norm=self.min_norm,
            balance_weight=self.balance_weight,
            **self.code_options,
        )

    def training_step(self, batch: list[Any], batch_idx: int) -> Tensor:
        """The base class's step, then this method's objective.

        Args:
            batch: [indexes, crops, targets]; crops is a list of num_crops (B, 3, H, W) tensors.
            batch_idx: index of the batch in its epoch.

        Returns:
            Scalar: the objective plus the online classifier's loss.
        """
        out = BaseMethod.training_step(self, batch, batch_idx)
        # not the batch's own indexes: a loader may number the samples of each process from 0
        indexes = global_indexes(self, batch[-1]).repeat(self.num_crops)
        targets = batch[-1].repeat(self.num_crops)
        rows = {key: torch.cat(out[key]) for key in ("feats", "z", "gate_logits") if key in out}
        objective = self.objective(rows, indexes)

        terms = {"train_nce_loss": objective.nce}
        if objective.probs is not None:
            terms["train_kl_loss"] = objective.kl
        if self.balance_weight:
            terms["train_balance_loss"] = objective.balance
        self.log_step(terms)
        self.log_codes(objective, rows["feats"], targets, batch_idx)
        return objective.total + out["loss"]
