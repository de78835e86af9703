"""From the heads' raw outputs to the loss: the paper's equations on one screen. Torch only."""

from dataclasses import dataclass

import torch
from torch import Tensor

from solo_bayesncl.losses import balance, bernoulli_kl, full_precision, info_nce
from solo_bayesncl.nn import MIN_NORM, gate, keep_topk, non_negative, normalize

MIN_NORM_SOFT = 1e-4


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """Codes and what they are computed from; all (N, D).

    Attributes:
        projections: non-negative head, TopK and unit length, before the gate.
        codes: gated and normalised projections, all zero where every gate is closed; without a
            gate, the projections.
        probs: posterior open-probabilities, None without a gate.
        mask: values of the gate, None without a gate.
    """

    projections: Tensor
    codes: Tensor
    probs: Tensor | None = None
    mask: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Objective(Encoding):
    """An encoding with the loss terms of one step.

    Attributes:
        total: scalar that is minimised, nce + kl_lambda * kl + balance_weight * balance.
        nce: scalar, InfoNCE of the codes.
        kl: scalar, KL of the gates' posterior from the prior, not yet weighted; 0 without a gate.
        balance: scalar, `losses.balance` of the codes, not yet weighted; 0 if its weight is 0.
    """

    total: Tensor
    nce: Tensor
    kl: Tensor
    balance: Tensor


def project(
    z: Tensor, *, non_neg: str | None, topk_k: int = 0, min_norm: float = MIN_NORM
) -> Tensor:
    """Non-negative, optionally TopK, unit-length projections.

    Args:
        z: (N, D) raw outputs of the projector.
        non_neg: name of the non-negative head.
        topk_k: entries kept per row, 0 for all.
        min_norm: norm below which a row receives no gradient (`solo_bayesncl.nn.normalize`).

    Returns:
        (N, D), float32 or float64.
    """
    return normalize(keep_topk(non_negative(non_neg)(full_precision(z)), topk_k), min_norm)


def encode(
    z: Tensor,
    gate_logits: Tensor | None = None,
    *,
    non_neg: str | None,
    topk_k: int = 0,
    gate_type: str = "STE",
    gate_temperature: float = 1.0,
    gate_threshold: float = 0.5,
    min_norm: float = MIN_NORM,
    sample: bool = False,
) -> Encoding:
    """Codes: normalise(m * normalise(nonneg(z))).

    Args:
        z: (N, D) raw outputs of the projector.
        gate_logits: (N, D) raw outputs of the gating head, None for methods without a gate.
        non_neg: name of the non-negative head (`solo_bayesncl.nn.non_negative`).
        topk_k: entries kept per row before the gate, 0 for all.
        gate_type: STE, gumbel_sigmoid, binary_concrete or soft (`solo_bayesncl.nn.gate`).
        gate_temperature: divides the gate's logits, > 0.
        gate_threshold: probability above which a hard gate is open.
        min_norm: norm below which a row receives no gradient, before the gate and behind it.
        sample: draw the gate's noise, as in training; without it the gate is that of evaluation,
            hard unless it is `soft`.
    """
    with torch.autocast(z.device.type, enabled=False):
        projections = project(z, non_neg=non_neg, topk_k=topk_k, min_norm=min_norm)
        if gate_logits is None:
            return Encoding(projections=projections, codes=projections)
        estimator = gate_type if sample or gate_type == "soft" else "STE"
        mask, probs = gate(full_precision(gate_logits), estimator, gate_temperature, gate_threshold)
        if gate_type == "soft":  # which shortens a row without emptying it
            min_norm = min(min_norm, MIN_NORM_SOFT)
        codes = normalize(projections * mask, min_norm)
    return Encoding(projections=projections, codes=codes, probs=probs, mask=mask)


def ncl_objective(
    z: Tensor,
    indexes: Tensor,
    *,
    non_neg: str | None,
    temperature: float,
    topk_k: int = 0,
    min_norm: float = MIN_NORM,
    balance_weight: float = 0.0,
) -> Objective:
    """NCL's objective; with `non_neg="none"` it is SimCLR's.

    Args:
        z: (N, D) raw outputs of the projector, all views of the batch.
        indexes: (N,) int, equal for the views of one image.
        temperature: InfoNCE temperature, > 0.
        non_neg, topk_k, min_norm: as in `encode`; `topk_k` above 0 is NCL+TopK.
        balance_weight: of `losses.balance` of the codes, >= 0.
    """
    encoding = encode(z, non_neg=non_neg, topk_k=topk_k, min_norm=min_norm)
    with torch.autocast(z.device.type, enabled=False):
        nce = info_nce(encoding.codes, indexes, temperature)
        term = _balance(encoding.codes, balance_weight)
    total = nce + balance_weight * term
    kl = torch.zeros_like(nce)
    return Objective(total=total, nce=nce, kl=kl, balance=term, **vars(encoding))


def bayesncl_objective(
    z: Tensor,
    gate_logits: Tensor,
    indexes: Tensor,
    *,
    non_neg: str | None,
    temperature: float,
    prior_prob: float,
    kl_lambda: float,
    gate_type: str,
    gate_temperature: float,
    gate_threshold: float,
    topk_k: int = 0,
    min_norm: float = MIN_NORM,
    balance_weight: float = 0.0,
) -> Objective:
    """BayesNCL's negative ELBO: InfoNCE(normalise(m * z)) + lambda KL(q(m|x) || p(m)).

    Args:
        z: (N, D) raw outputs of the projector, all views of the batch.
        gate_logits: (N, D) raw outputs of the gating head.
        indexes: (N,) int, equal for the views of one image.
        temperature: InfoNCE temperature, > 0.
        prior_prob: open-probability of the prior (rho), 0 to 1.
        kl_lambda: weight of the KL term (lambda).
        non_neg, gate_type, gate_temperature, gate_threshold, topk_k, min_norm: as in `encode`.
        balance_weight: of `losses.balance` of the codes, >= 0.
    """
    encoding = encode(
        z,
        gate_logits,
        non_neg=non_neg,
        topk_k=topk_k,
        gate_type=gate_type,
        gate_temperature=gate_temperature,
        gate_threshold=gate_threshold,
        min_norm=min_norm,
        sample=True,
    )
    with torch.autocast(z.device.type, enabled=False):
        nce = info_nce(encoding.codes, indexes, temperature)
        kl = bernoulli_kl(encoding.probs, prior_prob)
        term = _balance(encoding.codes, balance_weight)
    total = nce + kl_lambda * kl + balance_weight * term
    return Objective(total=total, nce=nce, kl=kl, balance=term, **vars(encoding))


def _balance(codes: Tensor, weight: float) -> Tensor:
    """Without a weight 0, for which processes exchange nothing."""
    return balance(codes) if weight else codes.new_zeros(())
