"""Codes cut to a length: what is kept, what the threshold is chosen on, what it says of meaning."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from solo_bayesncl import metrics
from solo_bayesncl.errors import InputError
from solo_bayesncl.metrics.lengths import cut_thresholds


def random_codes(seed=0, samples=200, dims=32, active=8):
    """Non-negative rows of unit length, with about `active` entries."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.rand(samples, dims, generator=generator)
    codes *= torch.rand(samples, dims, generator=generator) < active / dims
    return F.normalize(codes)


@given(st.floats(0.05, 7), st.integers(0, 5))
def test_codes_have_the_length_asked_for(length, seed):
    codes = random_codes(seed)
    kept = int((metrics.cut(codes, length) > 0).sum())
    assert kept == int(length * len(codes))


def test_what_is_kept_is_the_largest_of_all_samples_and_dimensions():
    codes = random_codes()
    kept = metrics.cut(codes, 3) > 0
    assert codes[kept].min() > codes[~kept].max()


def test_rows_have_unit_length_again_or_are_empty():
    norms = metrics.cut(random_codes(), 0.8).norm(dim=1)
    assert set(norms.round(decimals=5).tolist()) == {0.0, 1.0}


def test_kept_entries_keep_their_proportions():
    codes = torch.tensor([[0.2, 0.4, 0.8, 0.4]], dtype=torch.float64)
    assert metrics.cut(codes, 1).tolist() == [[0, 0, 1, 0]]
    shortened = metrics.cut(codes, 3)
    assert shortened[0, 2] / shortened[0, 1] == pytest.approx(2)


def test_entries_that_tie_at_the_threshold_are_dropped_together():
    codes = F.normalize(torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 1]]))
    assert metrics.cut(codes, 2).count_nonzero() == 0
    assert torch.equal(metrics.cut(codes, 4), codes)


def test_codes_shorter_than_the_length_stay_as_they_are():
    codes = random_codes(active=4)
    assert metrics.code_length(codes) < 6
    assert metrics.cut_threshold(codes, 6) == 0
    assert torch.allclose(metrics.cut(codes, 6), codes)
    assert metrics.cut_threshold(codes, float(metrics.code_length(codes))) == 0


def test_length_beyond_the_number_of_dimensions_keeps_everything():
    codes = F.normalize(torch.rand(5, 4) + 0.1)
    assert torch.allclose(metrics.cut(codes, 100), codes)


def test_entries_too_small_to_be_active_do_not_count():
    codes = torch.tensor([[1.0, 1e-6, 1e-6], [1.0, 1e-6, 0.0]])
    assert metrics.cut_threshold(codes, 1) == 0


def test_signed_codes_are_cut_by_magnitude():
    codes = torch.tensor([[0.6, -0.8], [-0.6, 0.8]])
    assert metrics.cut(codes, 1).tolist() == [[0, -1], [0, 1]]


def test_threshold_comes_from_the_reference():
    codes = random_codes(0)
    reference = random_codes(1, samples=77)
    threshold = metrics.cut_threshold(reference, 2)
    assert torch.equal(metrics.cut(codes, 2, reference), metrics.apply_cut(codes, threshold))
    assert metrics.code_length(metrics.apply_cut(reference, threshold)) == 154 / 77


def test_thresholds_of_several_lengths_are_those_of_each():
    codes = random_codes()
    lengths = [3, 0.5, 100, 1]
    assert cut_thresholds(codes, lengths) == [metrics.cut_threshold(codes, n) for n in lengths]


def test_cut_finds_the_meaning_that_weak_entries_hide():
    """A dimension per class with strong entries of it alone, and weak entries of all classes."""
    labels = torch.arange(400) % 4
    noise = 0.3 * torch.rand(400, 4, generator=torch.Generator().manual_seed(0))
    codes = F.normalize(F.one_hot(labels, 4) + noise)
    assert metrics.adjusted_consistency(codes, labels) == pytest.approx(0, abs=0.01)
    assert metrics.adjusted_consistency(metrics.cut(codes, 1), labels) == 1
    assert metrics.code_length(metrics.cut(codes, 1)) == 1


def test_gradients_flow_through_what_is_kept_alone():
    codes = torch.tensor([[0.6, 0.8, 0.0], [0.1, 0.0, 0.2]], requires_grad=True)
    metrics.apply_cut(codes, 0.5).sum().backward()
    assert (codes.grad != 0).tolist() == [[True, True, False], [False, False, False]]
    assert codes.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_is_kept_and_so_are_empty_rows(dtype):
    codes = metrics.cut(random_codes().to(dtype), 0.8)
    assert codes.dtype == dtype
    assert (codes == 0).all(dim=1).any()
    assert codes.isfinite().all()


@pytest.mark.parametrize("length", [0, -1, float("nan"), float("inf")])
def test_length_that_is_not_positive_and_finite_is_refused(length):
    with pytest.raises(InputError, match=f"length={length}: give a finite number above 0"):
        metrics.cut(random_codes(), length)


def test_codes_that_are_not_finite_are_refused():
    codes = random_codes()
    codes[3, 4] = torch.nan
    with pytest.raises(InputError, match="codes: contain NaN"):
        metrics.cut(codes, 2)
    with pytest.raises(InputError, match="reference: contain NaN"):
        metrics.cut(random_codes(), 2, reference=codes)
