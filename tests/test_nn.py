"""Activations, normalisation, gate and heads."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from solo_bayesncl.errors import InputError
from solo_bayesncl.nn import (
    GATE_TYPES,
    MIN_NORM,
    NON_NEGATIVE,
    gate,
    keep_topk,
    mlp,
    non_negative,
    normalize,
)


def test_rep_relu_has_the_value_of_relu_and_the_gradient_of_gelu():
    x = torch.linspace(-3, 3, 61, dtype=torch.float64, requires_grad=True)
    y = non_negative("rep_relu")(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    (gelu_slope,) = torch.autograd.grad(F.gelu(x).sum(), x)
    assert torch.equal(y, x.relu())
    assert torch.equal(slope, gelu_slope)


@pytest.mark.parametrize("name", sorted(set(NON_NEGATIVE) - {"none", "gelu", "leakyrelu"}))
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_non_negative_heads_have_no_negative_value(name, dtype):
    x = torch.linspace(-8, 8, 101).to(dtype)
    y = non_negative(name)(x)
    assert y.dtype == dtype
    assert (y >= 0).all()


def test_none_leaves_values_as_they_are():
    x = torch.randn(4, 5)
    assert torch.equal(non_negative(None)(x), x)
    assert torch.equal(non_negative("none")(x), x)


def test_unknown_head_is_refused_with_the_names_that_exist():
    with pytest.raises(InputError, match="^non_neg='swish'.*rep_relu"):
        non_negative("swish")


@given(st.integers(1, 12), st.integers(0, 10_000))
def test_topk_keeps_the_largest_entries_and_nothing_else(k, seed):
    z = torch.rand(5, 12, generator=torch.Generator().manual_seed(seed)) + 0.1
    kept = keep_topk(z, k)
    assert ((kept != 0).sum(dim=1) == k).all()
    smallest_kept = torch.where(kept != 0, z, torch.inf).min(dim=1).values
    largest_dropped = torch.where(kept == 0, z, -torch.inf).max(dim=1).values
    assert (smallest_kept >= largest_dropped).all()


def test_topk_larger_than_the_number_of_dimensions_is_refused():
    with pytest.raises(InputError, match="^k=13"):
        keep_topk(torch.rand(2, 12), 13)


def test_normalize_is_exact_for_ordinary_rows():
    z = torch.randn(8, 6, dtype=torch.float64, requires_grad=True)
    other = z.detach().clone().requires_grad_()
    weights = torch.randn(8, 6, dtype=torch.float64)
    (normalize(z) * weights).sum().backward()
    (F.normalize(other, dim=1) * weights).sum().backward()
    assert torch.equal(normalize(z), F.normalize(other, dim=1))
    assert torch.equal(z.grad, other.grad)


def test_short_rows_keep_their_value_and_get_no_gradient():
    z = torch.tensor([[0.0, 0.0], [MIN_NORM / 2, 0.0], [3.0, 4.0]], requires_grad=True)
    unit = normalize(z)
    torch.testing.assert_close(unit.detach(), torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.6, 0.8]]))
    (unit * torch.tensor([1.0, 2.0])).sum().backward()
    assert (z.grad[:2] == 0).all()
    assert (z.grad[2] != 0).all()


def test_at_a_minimum_norm_of_0_short_rows_learn_as_in_the_official_code():
    z = torch.tensor([[0.0, 0.0], [MIN_NORM / 2, 0.0], [3.0, 4.0]], requires_grad=True)
    official = z.detach().clone().requires_grad_()
    weights = torch.tensor([1.0, 2.0])
    (normalize(z, min_norm=0.0) * weights).sum().backward()
    (F.normalize(official, dim=1) * weights).sum().backward()
    torch.testing.assert_close(z.grad, official.grad)
    torch.testing.assert_close(z.grad[0], 1e12 * weights)


@pytest.mark.parametrize("gate_type", ["STE", "gumbel_sigmoid", "binary_concrete"])
def test_hard_gates_are_exactly_zero_or_one(gate_type):
    logits = torch.randn(200, 30)
    mask, probs = gate(logits, gate_type, temperature=0.7)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(probs, torch.sigmoid(logits / 0.7))


@given(st.floats(0.05, 5), st.floats(0, 0.95))
def test_ste_opens_above_the_threshold_with_the_gradient_of_the_posterior(temperature, threshold):
    logits = torch.linspace(-4, 4, 41, dtype=torch.float64).reshape(1, -1).requires_grad_()
    mask, probs = gate(logits, "STE", temperature, threshold)
    assert torch.equal(mask.detach() == 1, probs.detach() > threshold)
    (slope,) = torch.autograd.grad(mask.sum(), logits, retain_graph=True)
    (posterior_slope,) = torch.autograd.grad(probs.sum(), logits)
    torch.testing.assert_close(slope, posterior_slope)


def test_soft_gate_is_the_posterior():
    mask, probs = gate(torch.randn(3, 4), "soft")
    assert torch.equal(mask, probs)


def test_binary_concrete_samples_the_posterior_without_bias():
    torch.manual_seed(0)
    for probability in (0.2, 0.5, 0.8):
        logits = torch.full((200_000,), math.log(probability / (1 - probability)))
        mask, _ = gate(logits, "binary_concrete", temperature=0.3)
        assert abs(float(mask.mean()) - probability) < 0.005


def test_official_gumbel_noise_is_biased_towards_open():
    """One Gumbel sample: P(open) = 1 - exp(-exp(logit)), not sigmoid(logit)."""
    torch.manual_seed(0)
    mask, _ = gate(torch.zeros(200_000), "gumbel_sigmoid")
    assert abs(float(mask.mean()) - (1 - math.exp(-1))) < 0.005


def test_gumbel_gate_uses_the_official_noise():
    logits = torch.randn(6, 5, dtype=torch.float64)
    torch.manual_seed(3)
    mask, _ = gate(logits, "gumbel_sigmoid", temperature=0.5, threshold=0.4)
    torch.manual_seed(3)
    uniform = torch.rand_like(logits)
    noise = -torch.log(-torch.log(uniform + 1e-4) + 1e-4)
    assert torch.equal(mask, (torch.sigmoid((logits + noise) / 0.5) > 0.4).double())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"temperature": 0}, "temperature=0"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"threshold": 1.0}, "threshold=1.0"),
        ({"gate_type": "hard"}, "gate_type='hard'"),
    ],
)
def test_impossible_gates_are_refused(options, named):
    with pytest.raises(InputError, match=f"^{named}"):
        gate(torch.zeros(2, 2), **options)


def test_every_gate_type_yields_both_shapes():
    for gate_type in GATE_TYPES:
        mask, probs = gate(torch.randn(7, 3), gate_type)
        assert mask.shape == probs.shape == (7, 3)


@pytest.mark.parametrize(("depth", "names"), [(1, ["0"]), (2, ["0", "2"]), (3, ["0", "2", "4"])])
def test_heads_are_numbered_as_in_official_checkpoints(depth, names):
    module = mlp(5, 7, 3, depth)
    assert [name.split(".")[0] for name in module.state_dict() if "weight" in name] == names
    assert module(torch.randn(2, 5)).shape == (2, 3)


def test_heads_of_other_depth_are_refused():
    with pytest.raises(InputError, match="^depth=4"):
        mlp(5, 7, 3, depth=4)
