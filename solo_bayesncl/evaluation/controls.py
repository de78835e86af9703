"""Controls: what one can fit to a trained model's outputs instead of training a gate.

A control is evaluated as the model is, with its codes in place of the model's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import nan
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from solo_bayesncl.evaluation import probes
from solo_bayesncl.evaluation.dictionaries import FITS, Encoder, library_of
from solo_bayesncl.evaluation.evaluated_model import EvaluatedModel
from solo_bayesncl.evaluation.forward import Outputs
from solo_bayesncl.evaluation.neighbours import Neighbours
from solo_bayesncl.evaluation.training_split import SPACES, TrainingSplit

_logger = logging.getLogger(__name__)


def fit_control(
    model: EvaluatedModel,
    name: str,
    seed: int,
    *,
    of: str,
    kind: str,
    space: str,
    dims: int | None,
    **options: Any,
) -> EvaluatedModel:
    """Fits a dictionary to the training rows that probes use, and encodes both splits with it.

    Args:
        model: the trained model, which stays as it is.
        name: of the control.
        seed: of the fit.
        of: name of the model.
        kind: key of `FITS`.
        space: key of `SPACES` that it reads.
        dims: of its codes, None for the default.
        options: of the function of its kind.

    Returns:
        The model with the control's codes, of unit length, in place of its own, and without a gate.
        Their nearest neighbours are sought among those training rows. The online classifier is
        undefined, as it is not the control's.
    """
    rows, val_rows = (getattr(split, SPACES[space]) for split in (model.train, model.val))
    dims = dims or _default_dims(kind, model.val.codes, rows)
    fit = partial(FITS[kind], dims=dims, seed=seed, **options)
    codes, val_codes = (torch.full((len(split), dims), nan) for split in (rows, val_rows))
    explained = nan
    if probes.are_finite(rows, val_rows):
        codes, val_codes, explained = model.on_device(partial(_encode, fit), rows, val_rows)
    _logger.info(
        "%s: %d dimensions explain %.0f %% of the variance in %s of %s",
        *(name, dims, 100 * explained, space, of),
    )
    return replace(
        model,
        val=Outputs(model.val.feats, val_codes, model.val.labels),
        train=_with_codes(model, codes, val_codes),
        classifier_fits=False,
        control={
            **{"name": name, "of": of, "kind": kind, "space": space, "dims": dims},
            **options,
            "library": library_of(kind),
            "explained_variance": explained,
        },
    )


def _default_dims(kind: str, codes: Tensor, rows: Tensor) -> int:
    """As many as the model's codes have; of NMF, at most half as many as it factorises."""
    if kind != "nmf":
        return codes.size(1)
    return max(1, min(codes.size(1), rows.size(1) // 2))


def _encode(
    fit: Callable[[Tensor], Encoder], rows: Tensor, val_rows: Tensor
) -> tuple[Tensor, Tensor, float]:
    """Codes of both on the CPU, and the share of the variance of `val_rows` that they explain."""
    encode = fit(rows)
    codes, _ = encode(rows)
    val_codes, reconstruction = encode(val_rows)
    variance = (val_rows - val_rows.mean(dim=0)).square().sum()
    explained = 1 - (val_rows - reconstruction).square().sum() / variance
    return F.normalize(codes).cpu(), F.normalize(val_codes).cpu(), float(explained)


def _with_codes(model: EvaluatedModel, codes: Tensor, val_codes: Tensor) -> TrainingSplit:
    train = model.train
    neighbours = Neighbours({"codes": val_codes}, model.val.labels)
    neighbours.update({"codes": codes}, train.labels)
    diverged = set() if probes.are_finite(codes, val_codes) else {"codes"}
    return replace(
        train,
        codes=codes,
        order=codes.mean(dim=0).argsort(descending=True, stable=True),
        knn_accuracy=train.knn_accuracy | neighbours.accuracies(),
        not_finite=train.not_finite - {"codes"} | diverged,
    )
