"""Non-negative activations, MLP heads and the gate of NCL and BayesNCL.

Torch only. Paper: arXiv 2605.28441 (BayesNCL); NCL: ICLR 2024.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solo_bayesncl.errors import InputError, require_one_of

# Rows shorter than this receive no gradient: see `normalize`.
MIN_NORM = 0.03


def rep_relu(z: Tensor) -> Tensor:
    """ReLU whose gradient is that of GELU (exact, with erf), so that negative entries still learn.

    Args:
        z: tensor of any shape.

    Returns:
        `relu(z)`, with the gradient of `gelu(z)`.
    """
    smooth = F.gelu(z)
    return (smooth - smooth.detach()) + F.relu(z).detach()


NON_NEGATIVE: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda z: z,
    "relu": F.relu,
    "rep_relu": rep_relu,
    "gelu": F.gelu,  # reaches -0.17: not non-negative, kept for parity with the official list
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "exp": torch.exp,
    "leakyrelu": F.leaky_relu,  # negative slope 0.01: not non-negative, kept for parity
}


def non_negative(name: str | None) -> Callable[[Tensor], Tensor]:
    """The non-negative head by its official name.

    Args:
        name: none, relu, rep_relu, gelu, sigmoid, softplus, exp or leakyrelu; `None` means none.
            `gelu` and `leakyrelu` are in the official list but yield negative values too.

    Returns:
        An elementwise function of a tensor of any shape.

    Raises:
        InputError: for any other name.

    Example:
        >>> non_negative("rep_relu")(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """
    name = "none" if name is None else name
    require_one_of(name, NON_NEGATIVE, "non_neg")
    return NON_NEGATIVE[name]


def keep_topk(z: Tensor, k: int) -> Tensor:
    """Zeroes all but the k largest entries of each row (N, D): the paper's NCL+TopK baseline.

    Raises:
        InputError: if k is not 1 to D, or 0, which keeps all.
    """
    if not 0 <= k <= z.size(-1):
        raise InputError(f"k={k}: give 0 (keeps all) to {z.size(-1)} entries of a row.")
    if k == 0:
        return z
    return z * torch.zeros_like(z).scatter(-1, z.topk(k, dim=-1).indices, 1.0)


def normalize(z: Tensor, min_norm: float = MIN_NORM) -> Tensor:
    """Rows scaled to unit length; a row shorter than `min_norm` receives no gradient.

    The official code divides by max(norm, 1e-12) and lets the gradient through. One row without a
    positive entry then multiplies its gradient by 1e12 and ruins the run, because `rep_relu` has a
    gradient where its value is zero. Such a row holds no information, so it gets no gradient.
    Values, and the gradients of all other rows, are those of the official code.

    Args:
        z: (N, D).
        min_norm: shortest length at which a row still learns; absolute, in units of z. At 0 every
            row does, as in the official code.

    Returns:
        (N, D); an all-zero row stays zero.
    """
    norm = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
    unit = z / norm.clamp_min(1e-12)
    return torch.where(norm >= min_norm, unit, unit.detach())


def _gumbel(like: Tensor) -> Tensor:
    """One Gumbel sample with the official code's two offsets of 1e-4."""
    uniform = torch.rand_like(like)
    return -torch.log(-torch.log(uniform + 1e-4) + 1e-4)


def _logistic(like: Tensor) -> Tensor:
    """The difference of two Gumbel samples: what a binary concrete sample adds to its logit."""
    uniform = torch.rand_like(like).clamp(1e-6, 1 - 1e-6)
    return torch.log(uniform) - torch.log1p(-uniform)


GATE_NOISE: dict[str, Callable[[Tensor], Tensor] | None] = {
    "STE": None,
    "gumbel_sigmoid": _gumbel,
    "binary_concrete": _logistic,
    "soft": None,
}
GATE_TYPES = tuple(GATE_NOISE)


def gate(
    logits: Tensor,
    gate_type: str = "STE",
    temperature: float = 1.0,
    threshold: float = 0.5,
) -> tuple[Tensor, Tensor]:
    """Opens or closes each dimension of each row.

    With alpha = sigmoid(logits / temperature), the posterior open-probability:

    - `STE`: 1 where alpha > threshold, else 0; gradient of alpha (straight-through; the paper).
    - `gumbel_sigmoid`: the same on logits plus one Gumbel sample, as in the official code; one
      sample instead of the difference of two is biased towards open.
    - `binary_concrete`: the same on logits plus logistic noise, an unbiased Bernoulli sample
      of the posterior at threshold 0.5.
    - `soft`: alpha itself.

    Args:
        logits: (N, D) outputs of the gating head.
        gate_type: one of `GATE_TYPES`.
        temperature: divides the logits, > 0.
        threshold: probability above which a hard gate is open, 0 <= threshold < 1.

    Returns:
        (mask, probs), both (N, D): the gate's values, exactly 0 or 1 for the hard types, and the
        posterior alpha (without noise), which the KL term takes.

    Raises:
        InputError: unknown type, temperature <= 0 or threshold outside [0, 1).

    Example:
        >>> mask, probs = gate(torch.tensor([[-2.0, 0.5]]))
        >>> mask
        tensor([[0., 1.]])
    """
    require_one_of(gate_type, GATE_TYPES, "gate_type")
    if not temperature > 0:
        raise InputError(f"temperature={temperature}: give a number above 0.")
    if not 0 <= threshold < 1:
        raise InputError(f"threshold={threshold}: give 0 <= threshold < 1.")

    probs = torch.sigmoid(logits / temperature)
    if gate_type == "soft":
        return probs, probs
    noise = GATE_NOISE[gate_type]
    relaxed = probs if noise is None else torch.sigmoid((logits + noise(logits)) / temperature)
    hard = (relaxed > threshold).to(relaxed.dtype)
    return hard + (relaxed - relaxed.detach()), probs


def mlp(in_dim: int, hidden_dim: int, out_dim: int, depth: int = 2) -> nn.Sequential:
    """Linear layers with ReLU between them, numbered as in the official checkpoints (0, 2, ...).

    Args:
        in_dim, hidden_dim, out_dim: widths of input, hidden layers and output.
        depth: number of linear layers, 1 to 3.

    Raises:
        InputError: if depth is not 1, 2 or 3.
    """
    if depth not in (1, 2, 3):
        raise InputError(f"depth={depth}: give 1, 2 or 3 layers.")
    widths = [in_dim, *[hidden_dim] * (depth - 1), out_dim]
    layers: list[nn.Module] = []
    for width, next_width in pairwise(widths):
        layers += [nn.Linear(width, next_width), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@torch.no_grad()
def start_at_prior(head: nn.Sequential, prior_prob: float, temperature: float) -> None:
    """Sets the last bias of a gating head so that the posterior starts around the prior.

    Args:
        head: gating head whose last layer is linear.
        prior_prob: open-probability of the prior; clamped to [0.01, 0.99] as in the KL term.
        temperature: gate temperature.
    """
    prior_prob = min(max(prior_prob, 0.01), 0.99)
    head[-1].bias.fill_(temperature * math.log(prior_prob / (1 - prior_prob)))
