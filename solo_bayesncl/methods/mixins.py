"""Mixins for solo-learn methods: non-negative projections, the gate, and their metrics."""

from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from solo_bayesncl import metrics, recipes
from solo_bayesncl.adapters.shared import zero_without_labels
from solo_bayesncl.methods.step_log import StepLogMixin
from solo_bayesncl.nn import mlp, start_at_prior
from solo_bayesncl.objective import Encoding, encode


class NonNegativeMixin(StepLogMixin):
    """Mixin, listed before a solo-learn method, that makes its projections non-negative.

    Extra cfg settings: `method_kwargs`, see `solo_bayesncl.recipes.method_kwargs`.
    """

    def __init__(self, cfg: DictConfig):
        super().__init__(cfg)
        kwargs = self.cfg.method_kwargs
        self.code_options: dict[str, Any] = {
            "non_neg": kwargs.non_neg,
            "topk_k": kwargs.topk_k if kwargs.use_topk else 0,
        }
        self.min_norm: float = kwargs.min_norm
        self.balance_weight: float = kwargs.balance_weight

    @classmethod
    def add_and_assert_specific_cfg(cls, cfg: DictConfig) -> DictConfig:
        """Adds the method's defaults and checks its settings; raises `InputError`."""
        return recipes.fill_method_kwargs(super().add_and_assert_specific_cfg(cfg))

    def encode(self, out: dict[str, Tensor]) -> Encoding:
        """Codes from the outputs of `forward`, with the gate of evaluation (no noise)."""
        return encode(out["z"], out.get("gate_logits"), **self.code_options)

    def base_training_step(self, X: Tensor, targets: Tensor) -> dict[str, Any]:  # noqa: N803
        """The parent's, with a classifier loss of 0 where no image of the batch has a label."""
        out = super().base_training_step(X, targets)
        return {**out, "loss": zero_without_labels(out["loss"], targets)}

    def log_codes(self, encoding: Encoding, feats: Tensor, targets: Tensor, batch_idx: int) -> None:
        """Logs the statistics of a step, and interpretability at the first step of an epoch.

        Args:
            encoding: of all views of the batch, N rows.
            feats: (N, F) backbone features.
            targets: (N,) labels, below 0 for images without one.
            batch_idx: index of the batch in its epoch.
        """
        self.log_step(self.statistics(encoding))
        if batch_idx == 0 and not self.cfg.data.get("no_labels", False):
            spaces = {"backbone": feats, "codes": encoding.codes}
            if encoding.mask is not None:
                spaces["projections"] = encoding.projections
            self.log_interpretability(spaces, targets)

    def statistics(self, encoding: Encoding) -> dict[str, Tensor]:
        """Scalars to log at every step besides the loss."""
        empty = (encoding.codes.detach() == 0).all(dim=1)
        return {"train_empty_code_share": empty.float().mean()}

    @torch.no_grad()
    def log_interpretability(self, spaces: dict[str, Tensor], targets: Tensor) -> None:
        """Logs all metrics of one batch as `<metric>_<space>`.

        They are of the labelled images; NaN if there are none or a value is not finite. Computed on
        the CPU once an epoch, in a few tenths of a second (`benchmarks/metrics.py`).

        Args:
            spaces: name -> (N, any width).
            targets: (N,) labels, below 0 for images without one.
        """
        labels = targets.cpu()
        labelled = labels >= 0
        labels = labels[labelled]
        values: dict[str, Tensor] = {}
        for space, rows in spaces.items():
            rows = rows.detach().float().cpu()[labelled]
            if len(rows) and rows.isfinite().all():
                summary = metrics.summary(rows, labels)
            else:  # every process must log the same names
                names = metrics.summary(torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64))
                summary = dict.fromkeys(names, torch.tensor(torch.nan))
            values |= {f"{name}_{space}": value.float() for name, value in summary.items()}
        # one copy to the module's device: NCCL cannot reduce tensors on the CPU
        on_device = torch.stack(list(values.values())).to(targets.device)
        for name, value in zip(values, on_device, strict=True):
            self.log(name, value, on_step=False, on_epoch=True, sync_dist=True)


class GateMixin(NonNegativeMixin):
    """Mixin, listed before a solo-learn method, that gates each dimension of each image's code.

    Extra cfg settings: `optimizer.gating_head_lr`, the learning rate of the gating head, not scaled
    by the batch size; by default that of the rest of the model.
    """

    def __init__(self, cfg: DictConfig):
        super().__init__(cfg)
        kwargs = self.cfg.method_kwargs
        self.detach_gate_input: bool = kwargs.detach_gate_input
        self.prior_prob: float = kwargs.bayesian_prior_prob
        self.kl_lambda: float = kwargs.bayesian_kl_lambda
        self.code_options |= {
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
        return {**out, "gate_logits": self.gate_logits(out["feats"])}

    def multicrop_forward(self, X: Tensor) -> dict[str, Tensor]:  # noqa: N803
        """As `forward`, for the small crops."""
        out = super().multicrop_forward(X)
        return {**out, "gate_logits": self.gate_logits(out["feats"])}

    def statistics(self, encoding: Encoding) -> dict[str, Tensor]:
        """Adds the mean value of the gate."""
        return {
            **super().statistics(encoding),
            "train_gate_open_rate": encoding.mask.detach().mean(),
        }
