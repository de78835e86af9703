"""Bayesian gated non-negative contrastive learning (BayesNCL, ICML 2026) as a solo-learn method."""

from torch import Tensor

from solo_bayesncl.methods.mixins import GateMixin
from solo_bayesncl.methods.ncl import NCL
from solo_bayesncl.objective import Objective, bayesncl_objective


class BayesNCL(GateMixin, NCL):
    """NCL with a learned gate per image and dimension.

    Extra cfg settings: `method_kwargs`, see `recipes.method_kwargs.BayesNCLKwargs`, and
    `optimizer.gating_head_lr`, see `GateMixin`.
    """

    def objective(self, out: dict[str, Tensor], indexes: Tensor) -> Objective:
        """As the parent's; `out` also holds `gate_logits` (N, D)."""
        return bayesncl_objective(
            out["z"],
            out["gate_logits"],
            indexes,
            temperature=self.temperature,
            prior_prob=self.prior_prob,
            kl_lambda=self.kl_lambda,
            min_norm=self.min_norm,
            balance_weight=self.balance_weight,
            **self.code_options,
        )
