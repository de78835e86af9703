"""Bayesian gated non-negative contrastive learning (BayesNCL, ICML 2026) as a solo-learn method."""

from typing import Any

from omegaconf import DictConfig
from torch import Tensor

from solo_bayesncl.methods.ncl import NCL
from solo_bayesncl.nn import mlp, start_at_prior
from solo_bayesncl.objective import Encoding, Objective, bayesncl_objective, encode


class BayesNCL(NCL):
    """NCL with a learned gate per image and dimension.

    Extra cfg settings: `method_kwargs`, see `solo_bayesncl.settings.BAYESNCL`, and
    `optimizer.gating_head_lr`: learning rate of the gating head, not scaled by the batch size;
    the rest of the model's where it is absent.
    """

    def __init__(self, cfg: DictConfig):
        super().__init__(cfg)
        kwargs = self.cfg.method_kwargs
        self.detach_gate_input: bool = kwargs.detach_gate_input
        self.prior_prob: float = kwargs.bayesian_prior_prob
        self.kl_lambda: float = kwargs.bayesian_kl_lambda
        self.gate_options: dict[str, Any] = {
            "gate_type": kwargs.gate_type,
            "gate_temperature": kwargs.sigmoid_temperature,
            "gate_threshold": kwargs.gate_threshold,
        }
        self.gating_head_lr: float | None = self.cfg.optimizer.gating_head_lr
        self.gating_head = mlp(
            self.features_dim,
            kwargs.proj_hidden_dim,
            kwargs.proj_output_dim,
            depth=kwargs.gating_head_depth,
        )
        if kwargs.gate_init == "prior":
            start_at_prior(self.gating_head, self.prior_prob, kwargs.sigmoid_temperature)

    @property
    def learnable_params(self) -> list[dict[str, Any]]:
        """The parent's parameter groups and the gating head's."""
        group = {"name": "gating_head", "params": self.gating_head.parameters()}
        if self.gating_head_lr is not None:
            group["lr"] = self.gating_head_lr
        return [*super().learnable_params, group]

    def gate_logits(self, feats: Tensor) -> Tensor:
        """(N, F) backbone features to the (N, D) logits of the gate."""
        return self.gating_head(feats.detach() if self.detach_gate_input else feats)

    def forward(self, X: Tensor) -> dict[str, Tensor]:  # noqa: N803
        """The parent's outputs and `gate_logits` (N, D)."""
        out = super().forward(X)
        out["gate_logits"] = self.gate_logits(out["feats"])
        return out

    def multicrop_forward(self, X: Tensor) -> dict[str, Tensor]:  # noqa: N803
        """The same for the small crops."""
        out = super().multicrop_forward(X)
        out["gate_logits"] = self.gate_logits(out["feats"])
        return out

    def objective(self, out: dict[str, Tensor], indexes: Tensor) -> Objective:
        """As the parent's; `out` also holds `gate_logits` (N, D)."""
        return bayesncl_objective(
            out["z"],
            out["gate_logits"],
            indexes,
            non_neg=self.non_neg,
            temperature=self.temperature,
            prior_prob=self.prior_prob,
            kl_lambda=self.kl_lambda,
            topk_k=self.topk_k,
            **self.gate_options,
        )

    def encode(self, out: dict[str, Tensor]) -> Encoding:
        """Codes from the outputs of `forward`, gate as trained."""
        return encode(
            out["z"],
            out["gate_logits"],
            non_neg=self.non_neg,
            topk_k=self.topk_k,
            **self.gate_options,
        )

    def statistics(self, objective: Objective) -> dict[str, Tensor]:
        """Adds the mean value of the gate."""
        return {
            **super().statistics(objective),
            "train_gate_open_rate": objective.mask.detach().mean(),
        }
