"""Dictionaries find what features are made of; the libraries are the real ones."""

import importlib.util
import warnings

import pytest
import torch
from torch import Tensor

from solo_bayesncl.errors import InputError
from solo_bayesncl.evaluation.dictionaries import FITS, require_library

PARTS, FEATURES, ROWS, DIMS = 12, 32, 1000, 16
OPTIONS = {
    "topk_sae": {"k": 4, "steps": 500, "lr": 3e-3},
    "l1_sae": {"l1": 1.0, "steps": 500, "lr": 3e-3},
    "nmf": {},
}
of_sae_lens = pytest.mark.skipif(
    importlib.util.find_spec("sae_lens") is None, reason="not installed: controls"
)
KINDS = [pytest.param(k, marks=() if k == "nmf" else of_sae_lens) for k in FITS]


def made_of_parts() -> tuple[Tensor, Tensor]:
    """Rows, each a sum of one or two of 12 parts, and the weights of the parts in them."""
    generator = torch.Generator().manual_seed(0)
    parts = torch.rand(PARTS, FEATURES, generator=generator) ** 4
    weights = torch.rand(ROWS, PARTS, generator=generator) + 0.5
    weights *= torch.rand(ROWS, PARTS, generator=generator) < 0.12
    return weights @ parts, weights


def likeness(codes: Tensor, weights: Tensor) -> Tensor:
    """For each part, the correlation of its weights with the dimension that is most like it."""
    both = torch.corrcoef(torch.cat([weights.T, codes.T])).nan_to_num()
    return both[:PARTS, PARTS:].amax(dim=1)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_features_are_found_without_labels(kind):
    rows, weights = made_of_parts()
    codes, reconstruction = FITS[kind](rows, DIMS, 0, **OPTIONS[kind])(rows)
    assert codes.shape == (ROWS, DIMS)
    assert (codes >= 0).all()
    assert likeness(codes, weights).median() > 0.95
    unexplained = (rows - reconstruction).square().sum()
    assert unexplained < 0.05 * (rows - rows.mean(dim=0)).square().sum()


@pytest.mark.parametrize("kind", KINDS)
def test_fit_depends_on_its_seed_alone(kind):
    rows, _ = made_of_parts()
    options = OPTIONS[kind] | ({} if kind == "nmf" else {"steps": 5})

    def codes(seed: int) -> Tensor:
        return FITS[kind](rows, DIMS, seed, **options)(rows)[0]

    torch.manual_seed(1)
    first = codes(0)
    state = torch.get_rng_state()
    assert torch.equal(codes(0), first)
    assert torch.equal(torch.get_rng_state(), state)  # of the program around it
    assert kind == "nmf" or not torch.equal(codes(1), first)


@of_sae_lens
def test_topk_limits_the_active_dimensions_and_a_larger_penalty_their_number():
    rows, _ = made_of_parts()
    topk, _ = FITS["topk_sae"](rows, DIMS, 0, k=2, steps=20, lr=3e-3)(rows)
    assert (topk > 0).sum(dim=1).max() == 2
    lengths = [
        (FITS["l1_sae"](rows, DIMS, 0, l1=l1, steps=200, lr=3e-3)(rows)[0] > 0).sum() / ROWS
        for l1 in (0.0, 10.0)
    ]
    assert lengths[1] < 0.5 * lengths[0]


@of_sae_lens
@pytest.mark.parametrize("kind", ["topk_sae", "l1_sae"])
def test_scale_and_offset_of_features_do_not_matter(kind):
    rows, _ = made_of_parts()
    options = OPTIONS[kind] | {"steps": 5}
    codes, reconstruction = FITS[kind](rows, DIMS, 0, **options)(rows)
    moved = 100 * rows + 7
    moved_codes, moved_reconstruction = FITS[kind](moved, DIMS, 0, **options)(moved)
    torch.testing.assert_close(moved_codes, codes, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(moved_reconstruction, 100 * reconstruction + 7, rtol=1e-3, atol=1e-1)


def test_nmf_reads_rectified_features():
    rows, _ = made_of_parts()
    signed = torch.where(rows < 0.2, -rows, rows)
    encode = FITS["nmf"](signed, DIMS, 0)
    torch.testing.assert_close(encode(signed)[0], encode(signed.relu())[0])


def test_nmf_that_has_not_converged_is_not_warned_of():
    generator = torch.Generator().manual_seed(0)
    rows = 1 + 0.05 * torch.rand(48, 16, generator=generator)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FITS["nmf"](rows, 8, 0)(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_features_without_anything_in_them_have_empty_or_equal_codes(kind):
    """Those of a closed gate are zeros."""
    rows = torch.zeros(20, FEATURES)
    codes, _ = FITS[kind](rows, DIMS, 0, **OPTIONS[kind] | ({} if kind == "nmf" else {"steps": 5}))(
        rows
    )
    assert codes.shape == (20, DIMS)
    assert torch.equal(codes, codes[:1].expand_as(codes))


def test_missing_library_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'^controls.a.kind=l1_sae needs SAELens: pip install "'):
        require_library("l1_sae", "controls.a.kind")
    require_library("nmf", "controls.a.kind")
