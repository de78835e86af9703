"""Non-negative contrastive learning (NCL, ICLR 2024) as a solo-learn method."""

from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from solo_bayesncl import metrics, settings
from solo_bayesncl.hosts import host
from solo_bayesncl.objective import Encoding, Objective, encode, ncl_objective, project

BaseMethod, SimCLR = host().BaseMethod, host().SimCLR


class NCL(SimCLR):
    """SimCLR on non-negative projections, optionally of their k largest entries.

    Extra cfg settings: `method_kwargs`, see `solo_bayesncl.settings.NCL`.
    """

    def __init__(self, cfg: DictConfig):
        super().__init__(cfg)
        kwargs = self.cfg.method_kwargs
        self.non_neg: str | None = kwargs.non_neg
        self.topk_k: int = kwargs.topk_k if kwargs.use_topk else 0

    @staticmethod
    def add_and_assert_specific_cfg(cfg: DictConfig) -> DictConfig:
        """Adds the method's defaults and checks its settings; raises `InputError`."""
        cfg = super(NCL, NCL).add_and_assert_specific_cfg(cfg)
        return settings.fill(cfg)

    def objective(self, out: dict[str, Tensor], indexes: Tensor) -> Objective:
        """Loss terms of all views of a batch.

        Args:
            out: `z` (N, D), the projector's outputs.
            indexes: (N,), equal for the views of one image.
        """
        return ncl_objective(
            out["z"],
            indexes,
            non_neg=self.non_neg,
            temperature=self.temperature,
            topk_k=self.topk_k,
        )

    def encode(self, out: dict[str, Tensor]) -> Encoding:
        """Codes from the outputs of `forward`."""
        return encode(out["z"], non_neg=self.non_neg, topk_k=self.topk_k)

    def training_step(self, batch: list[Any], batch_idx: int) -> Tensor:
        """The host's step up to its contrastive loss, then this method's objective.

        Args:
            batch: [indexes, crops, targets]; crops is a list of num_crops (B, 3, H, W) tensors.
            batch_idx: index of the batch in its epoch.

        Returns:
            Scalar: the objective plus the online classifier's loss.
        """
        out = BaseMethod.training_step(self, batch, batch_idx)
        targets = batch[-1]
        # Positives by place in the global batch: loaders may number samples per process only.
        size = targets.size(0)
        indexes = torch.arange(size, device=targets.device) + self.global_rank * size
        heads = {key: torch.cat(out[key]) for key in ("z", "gate_logits") if key in out}
        objective = self.objective(heads, indexes.repeat(self.num_crops))

        self.log("train_nce_loss", objective.nce, on_epoch=True, sync_dist=True, prog_bar=True)
        self.log_dict(self.statistics(objective), on_epoch=True, sync_dist=True)
        if objective.probs is not None:
            self.log("train_kl_loss", objective.kl, on_epoch=True, sync_dist=True, prog_bar=True)
        if batch_idx == 0 and not self.cfg.data.get("no_labels", False):
            spaces = {"backbone": torch.cat(out["feats"]), "codes": objective.codes}
            if objective.mask is not None:
                spaces["projections"] = project(
                    heads["z"], non_neg=self.non_neg, topk_k=self.topk_k
                )
            self.log_interpretability(spaces, targets.repeat(self.num_crops))
        class_loss = out["loss"]
        # where no image of the batch has a label, it is a mean over nothing
        class_loss = torch.where((targets < 0).all(), class_loss.nan_to_num(), class_loss)
        return objective.total + class_loss

    def statistics(self, objective: Objective) -> dict[str, Tensor]:
        """What is logged at every step besides the loss."""
        empty = (objective.codes.detach() == 0).all(dim=1)
        return {"train_empty_code_share": empty.float().mean()}

    @torch.no_grad()
    def log_interpretability(self, spaces: dict[str, Tensor], targets: Tensor) -> None:
        """Logs all metrics of one batch as `<metric>_<space>`, on the CPU.

        Those of the images that have a label; nan if none has, or values are not finite.

        Args:
            spaces: name -> (N, any width).
            targets: (N,) labels, below 0 for images without one.
        """
        labelled = targets >= 0
        targets = targets[labelled].cpu()
        for space, values in spaces.items():
            values = values.detach()[labelled].float().cpu()
            if len(values) and values.isfinite().all():
                summary = metrics.summary(values, targets)
            else:  # nan rather than nothing: every process must log the same names
                names = metrics.summary(torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64))
                summary = dict.fromkeys(names, torch.tensor(torch.nan))
            self.log_dict(
                {f"{name}_{space}": value.float() for name, value in summary.items()},
                on_step=False,
                on_epoch=True,
                sync_dist=True,
            )
