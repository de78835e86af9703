"""Controls: what one can fit to a trained model's outputs instead of training a gate.

A control is evaluated as the model is, with its codes in place of the model's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
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

# settings that are not arguments of a kind's function
_COMMON = ("of", "kind", "space", "dims")


def fit_control(
    model: EvaluatedModel, name: str, settings: Mapping[str, Any], seed: int
) -> EvaluatedModel:
    """Fits a dictionary to the training rows that probes use, and encodes both splits with it.

    Args:
        model: the trained model, which stays as it is.
        name: of the control.
        settings: `of`, the model's name; `kind`, a key of `FITS`; `space`, the key of `SPACES` that
            it reads; `dims` of its codes, None for the default; the options of its kind.
        seed: of the fit.

    Returns:
        The model with the control's codes, of unit length, in place of its own, and without a gate.
        Their nearest neighbours are sought among those training rows. The online classifier is
        undefined, as it is not the control's.
    """
    output, options = SPACES[settings["space"]], dict(settings)
    for key in _COMMON:
        del options[key]
    rows, val_rows = getattr(model.train, output), getattr(model.val, output)
    dims = settings["dims"] or _default_dims(settings["kind"], model.val.codes, rows)
    fit = partial(FITS[settings["kind"]], dims=dims, seed=seed, **options)
    codes, val_codes = (torch.full((len(split), dims), nan) for split in (rows, val_rows))
    explained = nan
    if probes.are_finite(rows, val_rows):
        codes, val_codes, explained = model.on_device(partial(_encode, fit), rows, val_rows)
    _logger.info(
        "%s: %d dimensions explain %.0f %% of the variance in %s of %s",
        *(name, dims, 100 * explained, settings["space"], settings["of"]),
    )
    return replace(
        model,
        val=Outputs(model.val.feats, val_codes, model.val.labels),
        train=_with_codes(model, codes, val_codes),
        classifier_fits=False,
        control={
            **{"name": name, **settings, "dims": dims},
            "library": library_of(settings["kind"]),
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
