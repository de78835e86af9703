"""InfoNCE and KL against references written by hand, in one process and in several."""

import math
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy
from torch.utils._python_dispatch import TorchDispatchMode

from solo_bayesncl import losses
from solo_bayesncl.errors import InputError
from solo_bayesncl.losses import balance, bernoulli_kl, info_nce
from solo_bayesncl.nn import mlp
from solo_bayesncl.objective import bayesncl_objective


def info_nce_by_hand(z, indexes, temperature):
    terms = []
    for i in range(len(z)):
        scores = [math.exp(float(z[i] @ z[j]) / temperature) for j in range(len(z))]
        positive = sum(s for j, s in enumerate(scores) if j != i and indexes[j] == indexes[i])
        everything = sum(s for j, s in enumerate(scores) if j != i)
        if positive:
            terms.append(-math.log(positive / everything))
    return sum(terms) / len(terms)


def info_nce_of_all_similarities(z, indexes, temperature):
    """In float64 by autograd, from the whole matrix."""
    z = z.double()
    s = z @ z.T / temperature
    other = ~torch.eye(len(z), dtype=torch.bool)
    positive = (indexes[:, None] == indexes) & other
    log_sums = [s.masked_fill(~kept, -torch.inf) for kept in (other, positive)]
    log_all, log_positive = (x[positive.any(dim=1)].logsumexp(dim=1) for x in log_sums)
    return (log_all - log_positive).mean()


def value_and_gradient(loss, z, *args):
    z = z.clone().requires_grad_()
    value = loss(z, *args)
    value.backward()
    return value.detach(), z.grad


def chunks_of(rows, of):
    """Chunks of so many rows of the similarities to `of` candidates."""
    return patch.object(losses, "CPU_CHUNK", rows * of)


def unit_rows(rows, dims, dtype=torch.float32):
    generator = torch.Generator().manual_seed(rows)
    return F.normalize(torch.randn(rows, dims, generator=generator, dtype=dtype), dim=1)


INDEXES = {
    "two views": torch.arange(12).repeat(2),
    "views of an image one after the other": torch.arange(12).repeat_interleave(2),
    "many views": torch.arange(4).repeat(6),
    "all of one class": torch.zeros(24, dtype=torch.long),
    "rows without a positive": torch.tensor([*range(14), *range(10)]),
}


@pytest.mark.parametrize("rows", [1, 5, 12, 23, 24, 100])
@pytest.mark.parametrize("indexes", INDEXES.values(), ids=INDEXES)
def test_chunks_give_the_loss_and_gradient_of_the_whole_matrix(indexes, rows):
    z = unit_rows(24, 6, torch.float64)
    with chunks_of(rows, of=24):
        loss, gradient = value_and_gradient(info_nce, z, indexes, 0.3)
    expected = value_and_gradient(info_nce_of_all_similarities, z, indexes, 0.3)
    torch.testing.assert_close((loss, gradient), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rows", [2, 100])
def test_gradient_is_that_of_finite_differences(rows):
    indexes = torch.tensor([0, 1, 2, 0, 1, 2, 3, 1, 1])
    with chunks_of(rows, of=9):
        z = unit_rows(9, 5, torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(lambda z: info_nce(3 * z, indexes, 0.3), z)


@pytest.mark.parametrize("rows", [10, 100])
@pytest.mark.parametrize("temperature", [1.0, 0.2, 0.01])
def test_float32_is_as_good_as_float64(temperature, rows):
    """Also where the exponentials of a row have more than the range of float32, and at zero."""
    positions = unit_rows(31, 4)
    z = torch.cat([positions, -positions, torch.zeros(2, 4)])
    indexes = torch.arange(32).repeat(2)
    with chunks_of(rows, of=64):
        loss, gradient = value_and_gradient(info_nce, z, indexes, temperature)
    expected_loss, expected = value_and_gradient(
        info_nce_of_all_similarities, z, indexes, temperature
    )
    assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-6)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-6 / temperature)


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (6, 1)])
def test_few_rows_and_rows_of_length_one_stay_finite(shape):
    z = F.normalize(torch.ones(shape), dim=1)
    loss, gradient = value_and_gradient(info_nce, z, torch.zeros(len(z), dtype=torch.long), 0.01)
    assert loss == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("rows", [1, 8])
def test_nan_reaches_the_loss(rows):
    z = unit_rows(8, 3)
    z[5, 0] = torch.nan
    with chunks_of(rows, of=8):
        assert info_nce(z, torch.arange(4).repeat(2)).isnan()


class Calls(TorchDispatchMode):
    """Notes the operations and the entries of the largest tensor that they make."""

    def __init__(self):
        super().__init__()
        self.names, self.largest = [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.names.append(func.overloadpacket.__name__)
        if isinstance(out, torch.Tensor):
            self.largest = max(self.largest, out.numel())
        return out


@pytest.mark.parametrize("count", [64, 512])
def test_no_tensor_is_larger_than_a_chunk_or_the_rows(count):
    z = unit_rows(count, 8).requires_grad_()
    with chunks_of(4, of=64), Calls() as calls:
        info_nce(z, torch.arange(count // 2).repeat(2)).backward()
    assert calls.largest == max(4 * 64, count * 8)


@pytest.mark.parametrize("how", ["no_grad", "z without gradient"])
def test_no_gradient_is_computed_where_none_is_needed(how):
    z, indexes = unit_rows(24, 6).requires_grad_(), torch.arange(12).repeat(2)
    with chunks_of(5, of=24):
        expected = info_nce(z, indexes)
        with torch.set_grad_enabled(how != "no_grad"), Calls() as calls:
            loss = info_nce(z.detach() if how != "no_grad" else z, indexes)
    assert torch.equal(loss, expected.detach())
    assert not loss.requires_grad
    assert calls.names.count("mm") == 5
    assert not {"addmm", "addmm_"} & set(calls.names)


def test_second_derivative_is_refused():
    z = unit_rows(4, 3).requires_grad_()
    loss = info_nce(z, torch.tensor([0, 1, 0, 1]))
    with pytest.raises(InputError, match="^create_graph=True: .* no second derivative"):
        torch.autograd.grad(loss, z, create_graph=True)


def test_temperature_that_is_to_be_learned_is_refused():
    """It would silently stay as it is."""
    temperature = torch.tensor(0.2, requires_grad=True)
    with pytest.raises(InputError, match="temperature requires a gradient"):
        info_nce(unit_rows(4, 3), torch.tensor([0, 1, 0, 1]), temperature)


def test_backward_pass_can_be_repeated_and_scaled():
    z = unit_rows(4, 3).requires_grad_()
    loss = info_nce(z, torch.tensor([0, 1, 0, 1]))
    first, twice = (
        torch.autograd.grad(scale * loss, z, retain_graph=True)[0] for scale in (1.0, 2.0)
    )
    torch.testing.assert_close(twice, 2 * first)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=14), st.floats(0.1, 2), st.integers(0, 999))
def test_info_nce_equals_the_sum_written_by_hand(indexes, temperature, seed):
    indexes = torch.tensor([*indexes, indexes[0]])
    generator = torch.Generator().manual_seed(seed)
    z = F.normalize(torch.randn(len(indexes), 6, generator=generator, dtype=torch.float64), dim=1)
    expected = info_nce_by_hand(z, indexes, temperature)
    assert float(info_nce(z, indexes, temperature)) == pytest.approx(expected, rel=1e-9)


def test_info_nce_of_equal_rows_is_the_logarithm_of_the_candidates():
    z = F.normalize(torch.ones(8, 3), dim=1)
    loss = info_nce(z, torch.arange(4).repeat(2))
    assert loss.item() == pytest.approx(math.log(7), rel=1e-6)


def test_order_of_rows_does_not_matter():
    z = F.normalize(torch.randn(10, 4, dtype=torch.float64), dim=1)
    indexes = torch.arange(5).repeat(2)
    order = torch.randperm(10)
    torch.testing.assert_close(info_nce(z, indexes), info_nce(z[order], indexes[order]))


def test_rows_without_a_positive_are_left_out():
    z = F.normalize(torch.randn(5, 4), dim=1).requires_grad_()
    loss = info_nce(z, torch.tensor([0, 0, 1, 1, 2]))
    assert loss.item() == pytest.approx(
        info_nce_by_hand(z.detach(), torch.tensor([0, 0, 1, 1, 2]), 0.2), rel=1e-5
    )
    loss.backward()
    assert torch.isfinite(z.grad).all()


def test_no_positive_at_all_is_zero_with_zero_gradient():
    z = F.normalize(torch.randn(4, 3), dim=1).requires_grad_()
    loss = info_nce(z, torch.arange(4))
    loss.backward()
    assert loss.item() == 0
    assert (z.grad == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_small_temperatures_stay_finite(dtype):
    z = F.normalize(torch.randn(16, 8), dim=1).to(dtype).requires_grad_()
    loss = info_nce(z, torch.arange(8).repeat(2), temperature=0.005)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(z.grad).all()


def test_temperature_of_zero_is_refused():
    with pytest.raises(InputError, match="^temperature=0"):
        info_nce(torch.eye(2), torch.tensor([0, 0]), temperature=0)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"\(2, 2\), \(3,\)"):
        info_nce(torch.eye(2), torch.zeros(3, dtype=torch.long))


@given(st.floats(0, 1), st.floats(0, 1))
def test_kl_equals_that_of_torch_distributions_inside_the_clamp(probability, prior):
    clamp = lambda p: min(max(p, 0.01), 0.99)  # noqa: E731
    posterior = torch.distributions.Bernoulli(torch.tensor(clamp(probability)).double())
    reference = torch.distributions.Bernoulli(torch.tensor(clamp(prior)).double())
    expected = 3 * torch.distributions.kl_divergence(posterior, reference)
    value = bernoulli_kl(torch.full((5, 3), probability, dtype=torch.float64), prior)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-7)


def test_kl_has_no_gradient_outside_the_clamp():
    probs = torch.tensor([[0.001, 0.5, 0.999]], requires_grad=True)
    bernoulli_kl(probs, 0.8).backward()
    assert probs.grad[0, 0] == 0
    assert probs.grad[0, 1] != 0
    assert probs.grad[0, 2] == 0


@pytest.mark.parametrize("prior", [-0.1, 1.5])
def test_prior_outside_0_to_1_is_refused(prior):
    with pytest.raises(InputError, match=f"^prior_prob={prior}"):
        bernoulli_kl(torch.rand(2, 2), prior)


def test_balance_of_equal_shares_is_minus_the_logarithm_of_the_dimensions():
    assert balance(torch.eye(16)).item() == pytest.approx(-math.log(16), rel=1e-6)
    assert balance(torch.ones(3, 16)).item() == pytest.approx(-math.log(16), rel=1e-6)


def test_balance_is_zero_if_one_dimension_has_all_activation():
    assert balance(torch.eye(16)[[3, 3]]) == 0
    assert balance(torch.ones(5, 1)) == 0


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 999))
def test_balance_is_minus_the_entropy_of_squared_activation(rows, dims, seed):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randn(rows, dims, generator=generator, dtype=torch.float64).relu()
    codes[:, 0] += 0.1
    value = float(balance(codes))
    assert value == pytest.approx(-entropy((codes**2).sum(dim=0)), abs=1e-9)
    assert -math.log(dims) - 1e-9 <= value <= 1e-9


def test_gradient_of_balance_is_that_of_finite_differences():
    codes = unit_rows(9, 5, torch.float64).abs().requires_grad_()
    assert torch.autograd.gradcheck(balance, codes)


@pytest.mark.parametrize("codes", [torch.zeros(4, 3), F.pad(torch.eye(3), (0, 2, 0, 1))])
def test_zero_rows_and_dead_dimensions_leave_balance_finite_and_get_no_gradient(codes):
    value, gradient = value_and_gradient(balance, codes)
    assert value == pytest.approx(-math.log(3) if codes.any() else 0, rel=1e-6)
    assert (gradient[codes == 0] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_balance_of_half_precision_is_computed_in_float32(dtype):
    codes = (300 * unit_rows(64, 8)).to(dtype)  # their squares are beyond float16
    value, gradient = value_and_gradient(balance, codes)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, balance(codes.float()))
    assert gradient.isfinite().all()


OPTIONS = {
    "non_neg": "rep_relu",
    "temperature": 0.2,
    "prior_prob": 0.8,
    "kl_lambda": 0.01,
    "gate_type": "STE",
    "gate_temperature": 1.0,
    "gate_threshold": 0.5,
}


def _step(feats: torch.Tensor, indexes: torch.Tensor, weight: float, wrap=lambda module: module):
    """(loss, gradients) of one step of two heads with fixed initial weights."""
    torch.manual_seed(0)
    heads = torch.nn.ModuleDict({"z": mlp(8, 16, 12), "gate": mlp(8, 16, 12)}).to(feats.dtype)

    class Heads(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.heads = heads

        def forward(self, x):
            return self.heads["z"](x), self.heads["gate"](x)

    model = wrap(Heads())  # DDP averages gradients only as long as it is alive
    z, logits = model(feats)
    loss = bayesncl_objective(z, logits, indexes, **OPTIONS, balance_weight=weight).total
    loss.backward()
    return loss.detach(), [parameter.grad for parameter in heads.parameters()]


def _mean_step(
    rank: int,
    world_size: int,
    rows: int,
    feats: torch.Tensor,
    indexes: torch.Tensor,
    weight: float,
):
    """(mean loss, gradients, calls by their names) of a step with a share of the images."""
    size = feats.size(1) // world_size
    own = slice(rank * size, (rank + 1) * size)
    profile = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
    with chunks_of(rows, of=2 * feats.size(1)), profile:
        loss, gradients = _step(
            feats[:, own].flatten(0, 1),
            indexes[own].repeat(2),
            weight,
            torch.nn.parallel.DistributedDataParallel,
        )
    torch.distributed.all_reduce(loss)
    calls = {event.key: event.count for event in profile.key_averages()}
    return loss / world_size, gradients, calls


@pytest.mark.parametrize(
    ("world_size", "rows", "dtype", "weight"),
    [
        (2, 5, torch.float64, 0.0),
        (2, 100, torch.float64, 0.5),
        (3, 100, torch.float32, 0.0),
    ],
)
def test_several_processes_give_the_loss_and_gradients_of_one(
    process_pool, world_size, rows, dtype, weight
):
    """By a gather forward and a reduce-scatter backward of InfoNCE, and one more with balance.

    Indexes of 64 bits survive them.
    """
    feats = torch.randn(2, 12, 8, dtype=dtype)  # views, images, features
    indexes = 2**40 + torch.arange(12)
    steps = process_pool.run(
        _mean_step, world_size, rows, feats, indexes, weight, world_size=world_size
    )
    expected_loss, expected_gradients = _step(feats.flatten(0, 1), indexes.repeat(2), weight)
    tolerance = {torch.float64: 1e-9, torch.float32: 1e-5}[dtype]
    for loss, gradients, calls in steps:
        torch.testing.assert_close(loss, expected_loss, rtol=tolerance, atol=0)
        torch.testing.assert_close(
            gradients, expected_gradients, rtol=tolerance, atol=tolerance / 10
        )
        exchanges = calls["c10d::_allgather_base_"], calls["c10d::_reduce_scatter_base_"]
        assert exchanges == ((2, 2) if weight else (1, 1))
