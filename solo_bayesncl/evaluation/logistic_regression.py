"""Multinomial logistic regression by L-BFGS on the device of its data, to a known precision.

The objective is scikit-learn's: half the squared norm of the weights, plus C times the sum of the
cross-entropies; intercepts are not penalised. Because of the first term, half the squared norm of
the gradient with respect to the weights bounds the distance of the objective from its optimum
(strong convexity; it is also the duality gap). L-BFGS stops when this bound is small.

L-BFGS works on centred columns, each divided by about the square root of the curvature in its
weights. This is the same problem in other variables and takes up to half as many iterations.
"""

from contextlib import suppress
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

HISTORY = 10
# The curvature of the cross-entropy contains p (1 - p): about one divided by the number of classes
# while nothing is known, and much less when predictions are confident. Of values between 0.1 and
# 0.001, this one needs the fewest iterations on codes of trained runs.
CONFIDENCE = 0.003


@dataclass(frozen=True)
class LogisticRegression:
    """A fitted classifier.

    Attributes:
        weight: (D, C) float.
        bias: (C,) float.
        classes: (C,) int, the label of each column, ascending.
        objective: value reached.
        gap: upper bound of (objective - optimum) / optimum. The share of the intercepts in it is an
            estimate, by their curvature.
        evaluations: number of evaluations of the objective and its gradient.
    """

    weight: Tensor
    bias: Tensor
    classes: Tensor
    objective: float
    gap: float
    evaluations: int

    def predict(self, codes: Tensor) -> Tensor:
        """(M,) the most probable label for each row of (M, D)."""
        return self.classes[torch.addmm(self.bias, codes, self.weight).argmax(dim=1)]


class _Stop(Exception):  # noqa: N818
    """Leaves L-BFGS at the point that was evaluated last."""


@torch.no_grad()
def fit_logistic_regression(
    codes: Tensor,
    labels: Tensor,
    inverse_regularisation: float,
    start: LogisticRegression | None = None,
    tolerance: float = 1e-4,
    max_evaluations: int = 2000,
) -> LogisticRegression:
    """Minimises the objective of scikit-learn's `LogisticRegression(C=inverse_regularisation)`.

    Args:
        codes: (M, D) float32 or float64, finite.
        labels: (M,) int, of at least two classes.
        inverse_regularisation: C, positive.
        start: fitted on the first dimensions of the same codes; the other weights start at zero.
        tolerance: the `gap` at which to stop.
        max_evaluations: the number of evaluations at which to stop in any case.
    """
    samples, dims = codes.shape
    classes, targets = labels.unique(return_inverse=True)
    one_hot = F.one_hot(targets, len(classes)).to(codes.dtype)
    # For two classes, scikit-learn fits one column. At the optimum here, the two are half of it and
    # the negative of that: their squared norm is half as large.
    halves = 2 if len(classes) == 2 else 1
    c = inverse_regularisation / halves

    mean = codes.mean(dim=0)
    columns = codes - mean
    curvature = c * CONFIDENCE / len(classes)
    scale = (1 + curvature * columns.square().sum(dim=0)).rsqrt()
    bias_scale = (1 + curvature * samples) ** -0.5
    columns *= scale
    scale = scale[:, None]

    # The variables: weight = scale * v, and bias = bias_scale * b - mean @ weight.
    v, b = codes.new_zeros(dims, len(classes)), codes.new_zeros(len(classes))
    if start is not None:
        known = len(start.weight)
        v[:known] = start.weight / scale[:known]
        b = (start.bias + mean[:known] @ start.weight) / bias_scale
    penalty = scale.square()
    objective = gap = float("inf")
    evaluations = 0

    def evaluate() -> float:
        nonlocal objective, gap, evaluations
        log_probs = torch.addmm(bias_scale * b, columns, v).log_softmax(dim=1)
        cross_entropy = -log_probs.gather(1, targets[:, None]).sum(dtype=torch.float64)
        residuals = log_probs.exp_().sub_(one_hot)
        v.grad = torch.addmm(penalty * v, columns.T, residuals, alpha=c)
        b.grad = c * bias_scale * residuals.sum(dim=0)
        value = c * cross_entropy + (penalty * v.square()).sum(dtype=torch.float64) / 2
        bound = ((v.grad / scale).square().sum() + b.grad.square().sum()) / 2
        objective, bound = torch.stack([value, bound]).tolist()  # the GPU is waited for once
        gap = bound / (objective - bound) if bound < objective else float("inf")
        evaluations += 1
        if gap <= tolerance or evaluations == max_evaluations:
            raise _Stop
        return objective

    optimiser = torch.optim.LBFGS(
        [v, b],
        max_iter=max_evaluations,
        max_eval=max_evaluations,
        tolerance_grad=0,
        tolerance_change=0,
        history_size=HISTORY,
        line_search_fn="strong_wolfe",
    )
    with suppress(_Stop):
        optimiser.step(evaluate)
    weight = scale * v
    bias = bias_scale * b - mean @ weight
    return LogisticRegression(weight, bias, classes, halves * objective, gap, evaluations)
