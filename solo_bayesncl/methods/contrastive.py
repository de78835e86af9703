"""Codes in other contrastive methods of solo-learn: MoCo v2+, MoCo v3, SupCon and NNCLR.

solo-learn's method stays as it is. The loss inputs are replaced by codes, in the outputs of its
`forward` and `momentum_forward`, and the terms of the codes (balance, the gate's KL) are added to
its loss.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from solo_bayesncl import recipes
from solo_bayesncl.adapters import adapter
from solo_bayesncl.adapters.shared import zero_without_labels
from solo_bayesncl.losses import balance, bernoulli_kl
from solo_bayesncl.methods.mixins import GateMixin, NonNegativeMixin
from solo_bayesncl.objective import Encoding, encode


@dataclass(frozen=True)
class LossInputs:
    """The outputs of a solo-learn method that its loss takes.

    Attributes:
        online: name in the outputs of `forward` -> the head that returns it. The first one receives
            the gradient; its codes are the method's.
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
def captured_outputs(model: nn.Module, heads: dict[str, str]) -> Iterator[dict[str, Tensor]]:
    """Captures the raw outputs of heads: solo-learn normalises some of them in `forward`.

    `heads` maps the key of a captured output to the attribute of `model` that is its head.
    """
    captured: dict[str, Tensor] = {}

    def capture(name: str, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        captured[name] = output

    with ExitStack() as hooks:
        for name, head in heads.items():
            hook = partial(capture, name)
            hooks.enter_context(getattr(model, head).register_forward_hook(hook))
        yield captured


class CodeLossMixin(NonNegativeMixin):
    """Mixin, listed before a solo-learn method, that replaces its loss inputs by codes."""

    loss_inputs: LossInputs  # set by `variants`

    def __init__(self, cfg: DictConfig):
        super().__init__(cfg)
        if hasattr(self, "queue"):
            # solo-learn's random vectors are not codes, and would repel all images alike. Zeros are
            # similar to no code, and no gradient comes from them.
            self.queue.zero_()
        # during a training step: the codes and backbone features of each view
        self._views: list[tuple[Encoding, Tensor]] | None = None

    @classmethod
    def add_and_assert_specific_cfg(cls, cfg: DictConfig) -> DictConfig:
        """Adds the method's defaults and checks its settings; raises `InputError`."""
        if cls.loss_inputs.momentum:
            cfg.momentum = cfg.get("momentum") or {}  # each of its keys has a default
        cfg = super().add_and_assert_specific_cfg(cfg)
        recipes.check_contrastive(cfg)
        return cfg

    def forward(self, X: Tensor) -> dict[str, Tensor]:  # noqa: N803
        """The parent's outputs with codes as loss inputs, and `query` (N, D).

        `query` is the raw output of the head whose codes are the method's.
        """
        return self._online(super().forward, X)

    def multicrop_forward(self, X: Tensor) -> dict[str, Tensor]:  # noqa: N803
        """As `forward`, for the small crops."""
        return self._online(super().multicrop_forward, X)

    def _online(self, forward: Callable, X: Tensor) -> dict[str, Tensor]:  # noqa: N803
        with captured_outputs(self, self.loss_inputs.online) as raw:
            out = forward(X)
        encodings = self._encodings(raw, out.get("gate_logits"))
        query = next(iter(self.loss_inputs.online))
        if self._views is not None:
            self._views.append((encodings[query], out["feats"]))
        return {**out, **_codes(encodings), "query": raw[query]}

    def _encodings(self, raw: dict[str, Tensor], gate_logits: Tensor | None) -> dict[str, Encoding]:
        return {
            name: encode(
                z, gate_logits, min_norm=self.min_norm, sample=self.training, **self.code_options
            )
            for name, z in raw.items()
        }

    def encode(self, out: dict[str, Tensor]) -> Encoding:
        """Codes from the outputs of `forward`, with the gate of evaluation (no noise)."""
        return encode(out["query"], out.get("gate_logits"), **self.code_options)

    def training_step(self, batch: list[Any], batch_idx: int) -> Tensor:
        """solo-learn's step on codes, plus `code_terms`; arguments as in `NCL`."""
        self._views = []
        loss = super().training_step(batch, batch_idx)
        encodings, feats = zip(*self._views, strict=True)
        self._views = None
        encoding, feats = _concatenate(encodings), torch.cat(feats)
        targets = batch[-1].repeat(len(encodings))
        self.log_codes(encoding, feats, targets, batch_idx)
        return loss + self.code_terms(encoding)

    def code_terms(self, encoding: Encoding) -> Tensor | float:
        """The weighted terms that are added to solo-learn's loss."""
        if not self.balance_weight:
            return 0.0
        term = balance(encoding.codes)
        self.log_step({"train_balance_loss": term})
        return self.balance_weight * term


def _codes(encodings: dict[str, Encoding]) -> dict[str, Tensor]:
    return {name: encoding.codes for name, encoding in encodings.items()}


def _concatenate(encodings: Sequence[Encoding]) -> Encoding:
    names = [name for name, value in vars(encodings[0]).items() if value is not None]
    return Encoding(**{name: torch.cat([getattr(e, name) for e in encodings]) for name in names})


class GatedCodeLossMixin(CodeLossMixin, GateMixin):
    """`CodeLossMixin` with a gate, whose momentum copy gates the keys of a momentum network."""

    def __init__(self, cfg: DictConfig):
        super().__init__(cfg)
        if self.loss_inputs.momentum:
            self.momentum_gating_head = copy.deepcopy(self.gating_head).requires_grad_(False)

    def code_terms(self, encoding: Encoding) -> Tensor:
        """The parent's, and the KL divergence of the gate's posterior from its prior."""
        kl = bernoulli_kl(encoding.probs, self.prior_prob)
        self.log_step({"train_kl_loss": kl})
        return super().code_terms(encoding) + self.kl_lambda * kl


class MomentumCodesMixin:
    """Mixin, listed before `CodeLossMixin`, that also replaces the keys of a momentum network."""

    @torch.no_grad()
    def momentum_forward(self, X: Tensor) -> dict[str, Tensor]:  # noqa: N803
        """The parent's outputs with codes as loss inputs."""
        with captured_outputs(self, self.loss_inputs.momentum) as raw:
            out = super().momentum_forward(X)
        head = getattr(self, "momentum_gating_head", None)
        gate_logits = None if head is None else head(out["feats"])
        return {**out, **_codes(self._encodings(raw, gate_logits))}

    def _shared_step_momentum(self, X: Tensor, targets: Tensor) -> dict[str, Any]:  # noqa: N803
        """The parent's, with a classifier loss of 0 where no image of the batch has a label."""
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


def variants(prefix: str, mixin: type[CodeLossMixin]) -> dict[str, type]:
    """`<prefix>_<method>` -> class, for each method of `LOSS_INPUTS` that solo-learn has."""
    classes = {}
    for name, loss_inputs in LOSS_INPUTS.items():
        if (method := adapter().method(name)) is not None:
            mixins = (MomentumCodesMixin, mixin) if loss_inputs.momentum else (mixin,)
            doc = f"solo-learn's {method.__name__} on codes."
            classes[f"{prefix}_{name}"] = type(
                mixin.__name__ + method.__name__,
                (*mixins, method),
                {"loss_inputs": loss_inputs, "__doc__": doc},
            )
    return classes
