"""InfoNCE over all processes and the Bernoulli KL term. Torch only."""

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor

from solo_bayesncl.errors import InputError


def full_precision(x: Tensor) -> Tensor:
    """float16 and bfloat16 as float32; anything else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class _Gather(torch.autograd.Function):
    """`gather` by one collective each in the forward and backward pass."""

    @staticmethod
    def forward(ctx, z: Tensor, indexes: Tensor) -> tuple[Tensor, Tensor]:
        # each index travels in its row, its bits viewed as z's dtype
        bits = indexes.long().contiguous().view(z.dtype).view(len(z), -1)
        rows = torch.cat([z, bits], dim=1)
        gathered = rows.new_empty(dist.get_world_size() * len(rows), rows.size(1))
        _collective("all_gather_single", "all_gather_into_tensor")(gathered, rows)
        all_z, all_bits = gathered.split([z.size(1), bits.size(1)], dim=1)
        all_indexes = all_bits.contiguous().view(torch.int64).flatten()
        ctx.mark_non_differentiable(all_indexes)
        return all_z.contiguous(), all_indexes

    @staticmethod
    def backward(ctx, gradient: Tensor, _) -> tuple[Tensor, None]:
        own = gradient.new_empty(len(gradient) // dist.get_world_size(), gradient.size(1))
        _collective("reduce_scatter_single", "reduce_scatter_tensor")(own, gradient.contiguous())
        return own, None


def _collective(name: str, older_name: str) -> Callable:
    """A collective by its name, or before torch 2.14 by the older one, which is deprecated."""
    return getattr(dist, name, None) or getattr(dist, older_name)


def gather(z: Tensor, indexes: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and indexes of all processes in order of rank; the inputs where there is one process.

    Args:
        z: (N, D) floating point. N must be the same in every process.
        indexes: (N,) int.

    Returns:
        (world size * N, D) and (world size * N,). The gradient of a row is the sum over processes.
    """
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        return _Gather.apply(z, indexes)
    return z, indexes


def info_nce(z: Tensor, indexes: Tensor, temperature: float = 0.2) -> Tensor:
    """InfoNCE (NT-Xent for two views), with the rows of all processes as candidates.

    loss_i = -log( sum_{j in P(i)} exp(z_i.z_j / t) / sum_{j != i} exp(z_i.z_j / t) ), where P(i)
    are the other rows with the index of row i; the mean over rows i. It equals solo-learn's
    `simclr_loss_func`, but subtracts the maximum, never leaves float32 (also for half inputs and
    under autocast) and leaves out rows that have no positive, where the official value is infinite.
    In a process group, averaging the gradients over processes (DDP) yields the gradient of one
    process with the whole batch.

    Args:
        z: (N, D), rows of unit length (or zero). N must be the same in every process.
        indexes: (N,) int; equal for rows that are positives of each other.
        temperature: > 0.

    Returns:
        Scalar, in nats; zero if no row has a positive.

    Raises:
        InputError: if temperature is not above 0 or the shapes do not fit.

    Example:
        >>> z = torch.eye(2).repeat(2, 1)
        >>> info_nce(z, torch.tensor([0, 1, 0, 1]), temperature=1.0)
        tensor(0.5514)
    """
    if not temperature > 0:
        raise InputError(f"temperature={temperature}: give a number above 0.")
    if z.ndim != 2 or indexes.shape != z.shape[:1]:
        raise InputError(
            "info_nce takes z (N, D) and indexes (N,), got "
            f"{tuple(z.shape)}, {tuple(indexes.shape)}."
        )
    with torch.autocast(z.device.type, enabled=False):
        z = full_precision(z)
        candidates, candidate_indexes = gather(z, indexes)
        first_row = dist.get_rank() * z.size(0) if len(candidates) > len(z) else 0

        # i: rows of this process, j: rows of all processes, d: dimensions
        logits = torch.einsum("id,jd->ij", z, candidates) / temperature
        itself = torch.zeros_like(logits, dtype=torch.bool)
        itself[:, first_row : first_row + z.size(0)].fill_diagonal_(True)
        positive = (indexes[:, None] == candidate_indexes[None, :]) & ~itself
        has_positive = positive.any(dim=1)

        log_all = logits.masked_fill(itself, -torch.inf).logsumexp(dim=1)
        # a row without a positive keeps its logits here, so that its unused branch stays finite
        outside = ~positive & has_positive[:, None]
        log_positive = logits.masked_fill(outside, -torch.inf).logsumexp(dim=1)
        loss = torch.where(has_positive, log_all - log_positive, 0.0)
        return loss.sum() / has_positive.sum().clamp(min=1)


def bernoulli_kl(probs: Tensor, prior_prob: float, eps: float = 1e-2) -> Tensor:
    """KL divergence of the gates' Bernoulli posteriors from the prior.

    KL = mean over rows of sum over dimensions of
    a log(a / r) + (1 - a) log((1 - a) / (1 - r)), both a and r clamped to [eps, 1 - eps] first, as
    in the official code. Outside this range the term has no gradient.

    Args:
        probs: (N, D) posterior open-probabilities a.
        prior_prob: prior open-probability r, 0 to 1.
        eps: clamp.

    Returns:
        Scalar, in nats.

    Raises:
        InputError: if prior_prob is not in [0, 1].

    Example:
        >>> bernoulli_kl(torch.full((4, 10), 0.8), prior_prob=0.8)
        tensor(0.)
    """
    if not 0 <= prior_prob <= 1:
        raise InputError(f"prior_prob={prior_prob}: give a probability from 0 to 1.")
    posterior = full_precision(probs).clamp(eps, 1 - eps)
    prior = min(max(prior_prob, eps), 1 - eps)
    opened = posterior * torch.log(posterior / prior)
    closed = (1 - posterior) * torch.log((1 - posterior) / (1 - prior))
    return (opened + closed).sum(dim=-1).mean()
