"""Controls: a trained model with other codes, measured as any model is."""

import importlib.util
from dataclasses import replace

import pytest
import sklearn
import torch
from conftest import RECIPES, only_run, tiny

from solo_bayesncl.__main__ import main
from solo_bayesncl.evaluation.controls import fit_control
from solo_bayesncl.evaluation.encoding import encode_splits
from solo_bayesncl.evaluation.explanation import explain
from solo_bayesncl.evaluation.measurement import measure
from solo_bayesncl.evaluation.options import Options
from solo_bayesncl.evaluation.record import evaluation_of

pytestmark = pytest.mark.usefixtures("narrow_backbone")

NMF = {"of": "bayesncl", "kind": "nmf", "space": "backbone", "dims": None}
SAE = NMF | {"steps": 50, "lr": 3e-3}
of_sae_lens = pytest.mark.skipif(
    importlib.util.find_spec("sae_lens") is None, reason="not installed: controls"
)


@pytest.fixture(scope="module")
def model(images, tmp_path_factory):
    """With a gate, 16 features and 16 dimensions."""
    out = tmp_path_factory.mktemp("run")
    recipe = ["--config-path", str(RECIPES / "pretrain/custom"), "--config-name", "bayesncl"]
    assert main(["pretrain", *recipe, *tiny(images, out)]) == 0
    return encode_splits(only_run(out, "bayesncl"), Options(device="cpu"))


@pytest.fixture(scope="module")
def parts(model):
    return fit_control(model, "parts", seed=0, **NMF)


def test_codes_are_non_negative_of_unit_length_and_without_a_gate(model, parts):
    assert list(parts.spaces) == ["backbone", "codes"]
    for split, own in ((parts.train, model.train), (parts.val, model.val)):
        assert split.codes.shape == (len(own.codes), 8)
        assert (split.codes >= 0).all()
        lengths = split.codes.norm(dim=1)
        torch.testing.assert_close(lengths, (lengths > 0).float())
        assert torch.equal(split.labels, own.labels)
    assert parts.warnings == model.warnings == []


def test_its_numbers_are_those_of_its_codes(model, parts):
    found = measure(parts)
    as_trained = found["code_lengths"]["as_trained"]
    assert found["accuracy"]["knn_codes"] == as_trained["knn"]
    assert found["codes"]["code_length"] == as_trained["code_length"] > 0
    assert found["accuracy"]["online_classifier"] is None
    assert found["backbone"] == measure(model)["backbone"]
    assert "gate" not in found
    dimensions = explain(parts).table["dimensions"]
    assert len(dimensions) == 8
    assert all(row["open_rate"] is None for row in dimensions)


def test_record_tells_what_was_fitted(parts):
    record = evaluation_of(parts)
    assert record["name"] == "parts"
    explained = record["control"].pop("explained_variance")
    assert 0.5 < explained <= 1
    library = f"scikit-learn {sklearn.__version__}"
    assert record["control"] == {"name": "parts", **NMF, "dims": 8, "library": library}


@of_sae_lens
def test_dimensions_are_as_many_as_those_of_the_model_or_as_given(model):
    topk = SAE | {"kind": "topk_sae", "k": 2}
    assert fit_control(model, "sparse", seed=0, **topk).val.codes.size(1) == 16
    wide = fit_control(model, "sparse", seed=0, **(topk | {"dims": 40}))
    assert wide.val.codes.size(1) == 40
    assert ((wide.val.codes > 0).sum(dim=1) <= 2).all()


def test_control_reads_the_space_that_it_is_given(model):
    blind = replace(model, val=replace(model.val, feats=torch.zeros_like(model.val.feats)))
    seeing = fit_control(blind, "parts", seed=0, **(NMF | {"space": "codes"}))
    assert seeing.control["explained_variance"] > 0.5
    assert not fit_control(blind, "parts", seed=0, **NMF).val.codes.any()


def test_nmf_of_the_codes_of_a_closed_gate_is_empty(model):
    closed = replace(
        model,
        train=replace(model.train, codes=torch.zeros_like(model.train.codes)),
        val=replace(model.val, codes=torch.zeros_like(model.val.codes)),
    )
    control = fit_control(closed, "parts", seed=0, **(NMF | {"space": "codes"}))
    assert control.warnings == ["100% of the control's codes are empty."]


def test_control_of_a_diverged_model_is_not_fitted(model):
    feats = torch.full_like(model.train.feats, torch.nan)
    train = replace(model.train, feats=feats, not_finite=frozenset({"backbone"}))
    control = fit_control(replace(model, train=train), "parts", seed=0, **NMF)
    assert control.val.codes.isnan().all()
    assert "codes" in measure(control)["not_finite"]
    assert control.warnings[0].startswith("The model diverged")


@of_sae_lens
@pytest.mark.parametrize(
    ("settings", "warning"),
    [
        ({"kind": "l1_sae", "l1": 1e4},
         "% of the control's codes are empty. Lower controls.a.l1 or controls.a.lr."),
        ({"kind": "l1_sae", "l1": 0.0, "lr": 1e30},
         "The control diverged: its codes are not finite. Lower controls.a.l1 or controls.a.lr."),
        ({"kind": "topk_sae", "k": 2, "lr": 1e30},
         "The control diverged: its codes are not finite. Lower controls.a.lr."),
    ],
)  # fmt: skip
def test_control_without_information_is_told_as_such(model, settings, warning):
    control = fit_control(model, "a", seed=0, **(SAE | settings))
    (told,) = control.warnings
    assert told.endswith(warning)
