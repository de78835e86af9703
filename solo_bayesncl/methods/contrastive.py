"""Codes in other contrastive methods of the host: MoCo v2+, MoCo v3, SupCon and NNCLR.

The host's method stays what it is. What its loss compares is exchanged for codes, in the outputs of
its `forward` and `momentum_forward`, and the gate's KL term is added to its loss.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from solo_bayesncl import recipes
from solo_bayesncl.adapters import adapter
from solo_bayesncl.losses import bernoulli_kl
from solo_bayesncl.methods.mixins import GateMixin, NonNegativeMixin, zero_without_labels
from solo_bayesncl.objective import Encoding, encode


@dataclass(frozen=True)
class LossInputs:
    """What the loss of a method of the host compares.

    Attributes:
        online: name in the outputs of `forward` -> the head it is the output of. The first one gets
            the gradient: it is what the method's codes are.
        momentum: the same for `momentum_forward`.
    """

    online: dict[str, str]
    momentum: dict[str, str] = field(default_factory=dict)


LOSS_INPUTS = {
    "mocov2plus": LossInputs({"z": "projector"}, {"z": "momentum_projector"}),
    "mocov3": LossInputs({"q": "predictor"}, {"k": "momentum_projector"}),
    "supcon": LossInputs({"z": "projector"}),
    "nnclr": LossInputs({"p": "predictor", "z": "projector"}),
}


@contextmanager
def outputs_of(model: nn.Module, heads: dict[str, str]) -> Iterator[dict[str, Tensor]]:
    """Keeps what heads return while the context is open: the hosts normalise some at once.

    Args:
        model: has the heads as attributes.
        heads: name to keep the output under -> attribute.
    """
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Callable:
        return lambda module, inputs, output: kept.update({name: output})

    hooks = [getattr(model, head).register_forward_hook(keep(name)) for name, head in heads.items()]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


class CodeLossMixin(NonNegativeMixin):
    """Before a contrastive method of the host, whose loss then compares codes.

    Attributes:
        compared: what is exchanged, set by `variants`.
    """

    compared: LossInputs

    def __init__(self, cfg: DictConfig):
        super().__init__(cfg)
        if hasattr(self, "queue"):
            # The hosts' random vectors are no codes, and would push all images away alike. Nothing
            # is similar to a code of zeros, and no gradient comes from it.
            self.queue.zero_()
        # while a step runs: (codes, backbone features) of each of its views
        self._views: list[tuple[Encoding, Tensor]] | None = None

    @classmethod
    def add_and_assert_specific_cfg(cls, cfg: DictConfig) -> DictConfig:
        """Adds the method's defaults and checks its settings; raises `InputError`."""
        if cls.compared.momentum:
            cfg.momentum = cfg.get("momentum") or {}  # all of it has defaults
        cfg = super().add_and_assert_specific_cfg(cfg)
        recipes.check_contrastive(cfg)
        return cfg

    def forward(self, X: Tensor) -> dict[str, Tensor]:  # noqa: N803
        """The parent's outputs, those that its loss compares as codes, and `query` (N, D).

        That is the raw output of the head whose codes are the method's.
        """
        return self._online(super().forward, X)

    def multicrop_forward(self, X: Tensor) -> dict[str, Tensor]:  # noqa: N803
        """The same for the small crops."""
        return self._online(super().multicrop_forward, X)

    def _online(self, forward: Callable, X: Tensor) -> dict[str, Tensor]:  # noqa: N803
        with outputs_of(self, self.compared.online) as raw:
            out = forward(X)
        encodings = self._encodings(raw, out.get("gate_logits"))
        query = next(iter(self.compared.online))
        if self._views is not None:
            self._views.append((encodings[query], out["feats"]))
        return {**out, **_codes(encodings), "query": raw[query]}

    def _encodings(self, raw: dict[str, Tensor], gate_logits: Tensor | None) -> dict[str, Encoding]:
        return {
            name: encode(z, gate_logits, sample=self.training, **self.code_options)
            for name, z in raw.items()
        }

    def encode(self, out: dict[str, Tensor]) -> Encoding:
        """Codes from the outputs of `forward`, gate as trained but without noise."""
        return encode(out["query"], out.get("gate_logits"), **self.code_options)

    def training_step(self, batch: list[Any], batch_idx: int) -> Tensor:
        """The host's step, on codes.

        Args:
            batch: [indexes, crops, targets]; crops is a list of num_crops (B, 3, H, W) tensors.
            batch_idx: index of the batch in its epoch.
        """
        self._views = []
        loss = super().training_step(batch, batch_idx)
        views, feats = zip(*self._views, strict=True)
        self._views = None
        encoding = _concatenated(views)
        self.log_codes(encoding, torch.cat(feats), batch[-1].repeat(len(views)), batch_idx)
        return loss + self.kl_term(encoding)

    def kl_term(self, encoding: Encoding) -> Tensor | float:
        """What is added to the host's loss."""
        return 0.0


def _codes(encodings: dict[str, Encoding]) -> dict[str, Tensor]:
    return {name: encoding.codes for name, encoding in encodings.items()}


def _concatenated(views: Sequence[Encoding]) -> Encoding:
    given = [name for name, value in vars(views[0]).items() if value is not None]
    return Encoding(**{name: torch.cat([getattr(v, name) for v in views]) for name in given})


class GatedCodeLossMixin(CodeLossMixin, GateMixin):
    """`CodeLossMixin` with a gate; the keys of a momentum network have its momentum twin."""

    def __init__(self, cfg: DictConfig):
        super().__init__(cfg)
        if self.compared.momentum:
            self.momentum_gating_head = copy.deepcopy(self.gating_head).requires_grad_(False)

    def kl_term(self, encoding: Encoding) -> Tensor:
        """KL of the gate's posterior from its prior, weighted."""
        kl = bernoulli_kl(encoding.probs, self.prior_prob)
        self.log_step({"train_kl_loss": kl})
        return self.kl_lambda * kl


class MomentumCodesMixin:
    """Before `CodeLossMixin` where the keys are a momentum network's."""

    @torch.no_grad()
    def momentum_forward(self, X: Tensor) -> dict[str, Tensor]:  # noqa: N803
        """The parent's outputs, those that its loss compares as codes."""
        with outputs_of(self, self.compared.momentum) as raw:
            out = super().momentum_forward(X)
        head = getattr(self, "momentum_gating_head", None)
        gate_logits = None if head is None else head(out["feats"])
        return {**out, **_codes(self._encodings(raw, gate_logits))}

    def _shared_step_momentum(self, X: Tensor, targets: Tensor) -> dict[str, Any]:  # noqa: N803
        """The parent's; its classifier's loss, too, is 0 where no image has a label."""
        out = super()._shared_step_momentum(X, targets)
        if "loss" in out:
            out["loss"] = zero_without_labels(out["loss"], targets)
        return out

    @property
    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """The parent's and the gating head's."""
        pairs = super().momentum_pairs
        if hasattr(self, "momentum_gating_head"):
            pairs = [*pairs, (self.gating_head, self.momentum_gating_head)]
        return pairs


def variants(prefix: str, codes: type[CodeLossMixin]) -> dict[str, type]:
    """`<prefix>_<method>` for each method of `LOSS_INPUTS` that the host has."""
    return {
        f"{prefix}_{name}": _variant(adapter().method(name), compared, codes)
        for name, compared in LOSS_INPUTS.items()
        if adapter().method(name) is not None
    }


def _variant(method: type, compared: LossInputs, codes: type[CodeLossMixin]) -> type:
    bases = (*((MomentumCodesMixin,) if compared.momentum else ()), codes, method)
    members = {"compared": compared, "__doc__": f"The host's {method.__name__}, on codes."}
    return type(codes.__name__ + method.__name__, bases, members)
