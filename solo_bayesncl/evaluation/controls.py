"""Controls: dictionaries fitted to what a trained model outputs, evaluated in place of its codes."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from solo_bayesncl.errors import InputError
from solo_bayesncl.evaluation import probes
from solo_bayesncl.evaluation.dictionaries import Encoder, fit_l1_sae, fit_nmf, fit_topk_sae
from solo_bayesncl.evaluation.evaluated_model import EvaluatedModel
from solo_bayesncl.evaluation.forward import Outputs
from solo_bayesncl.evaluation.neighbours import Neighbours
from solo_bayesncl.evaluation.training_split import SPACES, TrainingSplit

KINDS = {"topk_sae": fit_topk_sae, "l1_sae": fit_l1_sae, "nmf": fit_nmf}
_OF_SAE_LENS = ("topk_sae", "l1_sae")


def require_library(kind: str, key: str) -> None:
    """Raises `InputError`, naming the setting `key`, if a kind's optional library is missing."""
    if kind in _OF_SAE_LENS and importlib.util.find_spec("sae_lens") is None:
        raise InputError(
            f'{key}={kind} needs SAELens: `pip install "solo-bayesncl[controls]"`, or leave this '
            "control out."
        )


def fit_control(
    model: EvaluatedModel, name: str, settings: Mapping[str, Any], seed: int
) -> EvaluatedModel:
    """Fits a dictionary to the training rows that probes use, and encodes both splits with it.

    Args:
        model: the trained model, which stays as it is.
        name: of the control.
        settings: its `kind`, a key of `KINDS`; the `space` that it reads, a key of `SPACES`; `dims`
            of its codes, None for as many as the model's have; the options of its kind.
        seed: of the fit.

    Returns:
        The model with the control's codes, of unit length, in place of its own, and without a gate.
        The nearest neighbours of a code are sought among those training rows. What only the model's
        own training has, its online classifier, is undefined.
    """
    options = {key: value for key, value in settings.items() if key not in _NOT_OPTIONS}
    output = SPACES[settings["space"]]
    dims = settings["dims"] or model.val.codes.size(1)
    fit = partial(KINDS[settings["kind"]], dims=dims, seed=seed, **options)
    train, val = getattr(model.train, output), getattr(model.val, output)
    codes, val_codes, explained = model.on_device(partial(_encode, fit), train, val)
    return replace(
        model,
        val=Outputs(model.val.feats, val_codes, model.val.labels),
        train=_with_codes(model, codes, val_codes),
        classifier_fits=False,
        control={"name": name, **settings, "dims": dims, "explained_variance": explained},
    )


_NOT_OPTIONS = ("of", "kind", "space", "dims")


def _encode(fit: partial[Encoder], train: Tensor, val: Tensor) -> tuple[Tensor, Tensor, float]:
    """(codes of both, explained variance of `val`); nan where the rows are not finite."""
    if not probes.are_finite(train, val):
        dims = fit.keywords["dims"]
        nan = torch.nan
        return torch.full((len(train), dims), nan), torch.full((len(val), dims), nan), nan
    encode = fit(train)
    codes, _ = encode(train)
    val_codes, reconstruction = encode(val)
    variance = (val - val.mean(dim=0)).square().sum()
    explained = 1 - (val - reconstruction).square().sum() / variance
    return F.normalize(codes).cpu(), F.normalize(val_codes).cpu(), float(explained)


def _with_codes(model: EvaluatedModel, codes: Tensor, val_codes: Tensor) -> TrainingSplit:
    train = model.train
    neighbours = Neighbours({"codes": val_codes}, model.val.labels)
    neighbours.update({"codes": codes}, train.labels)
    not_finite = train.not_finite - {"codes"}
    return replace(
        train,
        codes=codes,
        order=codes.mean(dim=0).argsort(descending=True, stable=True),
        knn_accuracy=train.knn_accuracy | neighbours.accuracies(),
        not_finite=not_finite if probes.are_finite(codes) else not_finite | {"codes"},
    )
