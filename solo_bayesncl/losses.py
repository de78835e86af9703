"""InfoNCE and balance over all processes, and the Bernoulli KL term. Torch only."""

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor

from solo_bayesncl.errors import InputError

# Similarities of a chunk of rows: few enough for a CPU's cache, many enough to fill a GPU.
CPU_CHUNK, GPU_CHUNK = 2**19, 2**24


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
    `simclr_loss_func`, but never leaves float32 (also for half inputs and under autocast), stays
    finite at any temperature and leaves out rows that have no positive, where the official value is
    infinite. In a process group, averaging the gradients over processes (DDP) yields the gradient
    of one process with the whole batch.

    Rows are taken in chunks, and the gradient is computed in the same pass as the loss, so memory
    grows with the number of rows and not with its square.

    Args:
        z: (N, D), rows of unit length (or zero). N must be the same in every process.
        indexes: (N,) int; equal for rows that are positives of each other.
        temperature: > 0. A constant, which cannot be learned.

    Returns:
        Scalar, in nats; zero if no row has a positive.

    Raises:
        InputError: if temperature is not above 0 or asks for a gradient, or the shapes do not fit;
            in the backward pass, if a second derivative is asked for.

    Example:
        >>> z = torch.eye(2).repeat(2, 1)
        >>> info_nce(z, torch.tensor([0, 1, 0, 1]), temperature=1.0)
        tensor(0.5514)
    """
    if not temperature > 0:
        raise InputError(f"temperature={temperature}: give a number above 0.")
    if isinstance(temperature, Tensor) and temperature.requires_grad:
        raise InputError(
            "temperature requires a gradient, and info_nce computes only that of z. Give a number."
        )
    if z.ndim != 2 or indexes.shape != z.shape[:1]:
        raise InputError(
            "info_nce takes z (N, D) and indexes (N,), got "
            f"{tuple(z.shape)}, {tuple(indexes.shape)}."
        )
    with torch.autocast(z.device.type, enabled=False):
        candidates, candidate_indexes = gather(full_precision(z), indexes)
        rank = dist.get_rank() if len(candidates) > len(z) else 0
        own = range(rank * len(z), (rank + 1) * len(z))
        learns = candidates.requires_grad and torch.is_grad_enabled()
        return _InfoNCE.apply(candidates, candidate_indexes, own, temperature, learns)


class _InfoNCE(torch.autograd.Function):
    """The mean loss of the rows `own` of all candidates, and its gradient in the same pass.

    With s_ij = z_i.z_j / t,

        dloss_i / ds_ij = softmax over j != i of s_ij - softmax over P(i) of s_ij = g_ij,

    and row k receives (sum_j g_kj z_j + sum_i g_ik z_i) / (t n), where i are own rows, n of which
    have a positive, and the first sum is that of own rows only.
    """

    @staticmethod
    def forward(
        ctx, candidates: Tensor, indexes: Tensor, own: range, temperature: float, learns: bool
    ) -> Tensor:
        lowest = torch.finfo(candidates.dtype).min  # in the place of -inf, as it yields no NaN
        entries = CPU_CHUNK if candidates.is_cpu else GPU_CHUNK
        size = max(1, entries // max(1, len(candidates)))
        gradient = torch.zeros_like(candidates) if learns else None
        loss, count = candidates.new_zeros(2)
        for first in own[::size]:
            chunk = slice(first, min(first + size, own.stop))
            z = candidates[chunk]
            s = (z / temperature) @ candidates.T
            s.diagonal(first).fill_(lowest)
            log_all, g = _logsumexp_and_softmax(s)
            s.masked_fill_(indexes[chunk, None] != indexes, lowest)
            log_positive, g_positive = _logsumexp_and_softmax(s)
            has_positive = (log_positive > lowest / 2).to(s.dtype)  # 0 * NaN is NaN, and shows
            loss += ((log_all - log_positive) * has_positive).sum()
            count += has_positive.sum()
            if not learns:
                continue
            g.sub_(g_positive).mul_(has_positive)
            if len(z) == len(candidates):  # one product for both sums
                gradient.addmm_(torch.add(g, g.T, out=s), candidates)
            else:
                gradient[chunk].addmm_(g, candidates)
                gradient.addmm_(g.T, z)
        count.clamp_(min=1)
        if learns:
            ctx.save_for_backward(gradient, 1 / (temperature * count))
        return loss / count

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, None, None, None, None]:
        if torch.is_grad_enabled():
            raise InputError(
                "create_graph=True: info_nce computes its gradient together with its value and "
                "has no second derivative. Call backward without create_graph."
            )
        gradient, scale = ctx.saved_tensors
        return gradient * (upstream * scale), None, None, None, None


def _logsumexp_and_softmax(s: Tensor) -> tuple[Tensor, Tensor]:
    """Both over each row, (N, 1) and (N, M), by one exponential."""
    softmax = s.softmax(dim=1)
    return s.amax(dim=1, keepdim=True) - softmax.amax(dim=1, keepdim=True).log(), softmax


def balance(codes: Tensor) -> Tensor:
    """How unequally the dimensions share the codes' squared activation: minus its entropy.

    With q_k = sum_i c_ik^2 / sum_ij c_ij^2, the share of dimension k over the rows of all
    processes: sum_k q_k ln q_k. As a penalty it keeps dimensions in use. Gradients average over
    processes as those of `info_nce` do.

    Args:
        codes: (N, D). D must be the same in every process.

    Returns:
        Scalar, in nats: -ln D if all dimensions have the same share, 0 if one has all; 0 also if
        all codes are zero. A dimension that no row activates receives no gradient.

    Example:
        >>> balance(torch.eye(4))
        tensor(-1.3863)
    """
    with torch.autocast(codes.device.type, enabled=False):
        own = full_precision(codes).square().sum(dim=0, keepdim=True)
        each, _ = gather(own, own.new_zeros(1, dtype=torch.int64))  # a row per process
        activation = each.sum(dim=0)
        shares = activation / activation.sum().clamp_min(1e-12)
        return (shares * shares.clamp_min(1e-12).log()).sum()


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
