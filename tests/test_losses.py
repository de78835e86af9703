"""InfoNCE and KL against references written by hand, in one process and in several."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from solo_bayesncl.errors import InputError
from solo_bayesncl.losses import bernoulli_kl, info_nce
from solo_bayesncl.nn import mlp
from solo_bayesncl.objective import bayesncl_objective


def info_nce_by_hand(z, indexes, temperature):
    losses = []
    for i in range(len(z)):
        scores = [math.exp(float(z[i] @ z[j]) / temperature) for j in range(len(z))]
        positive = sum(s for j, s in enumerate(scores) if j != i and indexes[j] == indexes[i])
        everything = sum(s for j, s in enumerate(scores) if j != i)
        if positive:
            losses.append(-math.log(positive / everything))
    return sum(losses) / len(losses)


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


OPTIONS = {
    "non_neg": "rep_relu",
    "temperature": 0.2,
    "prior_prob": 0.8,
    "kl_lambda": 0.01,
    "gate_type": "STE",
    "gate_temperature": 1.0,
    "gate_threshold": 0.5,
}


def _step(feats: torch.Tensor, indexes: torch.Tensor, wrap=lambda module: module):
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
    loss = bayesncl_objective(z, logits, indexes, **OPTIONS).total
    loss.backward()
    return loss.detach(), [parameter.grad for parameter in heads.parameters()]


def _mean_step(rank: int, world_size: int, feats: torch.Tensor, indexes: torch.Tensor):
    """(mean loss, gradients, calls by their names) of a step with a share of the images."""
    size = feats.size(1) // world_size
    own = slice(rank * size, (rank + 1) * size)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        loss, gradients = _step(
            feats[:, own].flatten(0, 1),
            indexes[own].repeat(2),
            torch.nn.parallel.DistributedDataParallel,
        )
    torch.distributed.all_reduce(loss)
    calls = {event.key: event.count for event in profile.key_averages()}
    return loss / world_size, gradients, calls


@pytest.mark.parametrize(("world_size", "dtype"), [(2, torch.float64), (3, torch.float32)])
def test_several_processes_give_the_loss_and_gradients_of_one(process_pool, world_size, dtype):
    """By one gather forward and one reduce-scatter backward; indexes of 64 bits survive it."""
    feats = torch.randn(2, 12, 8, dtype=dtype)  # views, images, features
    indexes = 2**40 + torch.arange(12)
    steps = process_pool.run(_mean_step, world_size, feats, indexes, world_size=world_size)
    expected_loss, expected_gradients = _step(feats.flatten(0, 1), indexes.repeat(2))
    tolerance = {torch.float64: 1e-9, torch.float32: 1e-5}[dtype]
    for loss, gradients, calls in steps:
        torch.testing.assert_close(loss, expected_loss, rtol=tolerance, atol=0)
        torch.testing.assert_close(
            gradients, expected_gradients, rtol=tolerance, atol=tolerance / 10
        )
        assert calls["c10d::_allgather_base_"] == calls["c10d::_reduce_scatter_base_"] == 1
