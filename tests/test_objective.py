"""The objective against the official code's numbers, and where the official code breaks."""

from itertools import pairwise

import pytest
import torch
from conftest import GOLDEN, golden_case
from torch import nn

from solo_bayesncl.losses import balance
from solo_bayesncl.nn import mlp, start_at_prior
from solo_bayesncl.objective import bayesncl_objective, encode, ncl_objective, project

CASES = sorted((GOLDEN / "objective").glob("*.npz"))
GATE = {
    "prior_prob": 0.8,
    "kl_lambda": 3e-5,
    "gate_type": "STE",
    "gate_temperature": 1.0,
    "gate_threshold": 0.5,
}


def head(weights: dict[str, torch.Tensor], name: str) -> nn.Sequential:
    """A head with the golden weights; loads them under the official names."""
    own = {k.removeprefix(f"{name}."): v for k, v in weights.items() if k.startswith(f"{name}.")}
    hidden, inputs = own["0.weight"].shape
    module = mlp(inputs, hidden, own["2.weight"].shape[0]).double()
    module.load_state_dict(own)
    return module


def objective_of(kwargs, heads, feats, indexes):
    shared = {
        "non_neg": kwargs["non_neg"],
        "temperature": kwargs["temperature"],
        "topk_k": kwargs["topk_k"] if kwargs["use_topk"] else 0,
    }
    z = heads["projector"](feats)
    if not kwargs["use_bayes"]:
        return ncl_objective(z, indexes, **shared)
    return bayesncl_objective(
        z,
        heads["gating_head"](feats.detach()),
        indexes,
        prior_prob=kwargs["bayesian_prior_prob"],
        kl_lambda=kwargs["bayesian_kl_lambda"],
        gate_type=kwargs["gate_type"],
        gate_temperature=kwargs["sigmoid_temperature"],
        gate_threshold=kwargs["gate_threshold"],
        **shared,
    )


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_values_and_gradients_are_those_of_the_official_code(path):
    settings, arrays = golden_case(path)
    kwargs = settings["method_kwargs"]
    weights = {k.removeprefix("param."): v for k, v in arrays.items() if k.startswith("param.")}
    names = {name.split(".")[0] for name in weights} & {"projector", "gating_head"}
    heads = {name: head(weights, name) for name in names}
    views = [arrays[f"in.feats{i}"].clone().requires_grad_() for i in (1, 2)]
    indexes = torch.arange(len(views[0])).repeat(2)

    result = objective_of(kwargs, heads, torch.cat(views), indexes)
    result.total.backward()

    outputs = {
        "out.total": result.total,
        "out.nce": result.nce,
        "out.kl": result.kl,
        "out.gate_prob": result.probs,
        "out.gate_mask": result.mask,
        "out.gated_z_normalized": result.codes,
        "out.z_normalized": result.codes if result.mask is None else None,
    }
    compared = 0
    for name, value in outputs.items():
        if name in arrays and value is not None:
            torch.testing.assert_close(value.detach(), arrays[name], rtol=1e-9, atol=1e-12)
            compared += 1
    assert compared >= 3
    for name, module in heads.items():
        for key, parameter in module.named_parameters():
            golden = arrays[f"grad.{name}.{key}"]
            torch.testing.assert_close(parameter.grad, golden, rtol=1e-9, atol=1e-12)
    for view, golden in zip(views, ("grad.feats1", "grad.feats2"), strict=True):
        torch.testing.assert_close(view.grad, arrays[golden], rtol=1e-9, atol=1e-12)


def batch(rows: int = 16, dim: int = 24, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(2 * rows, dim, generator=generator, dtype=torch.float64)
    logits = torch.randn(2 * rows, dim, generator=generator, dtype=torch.float64)
    return z, logits, torch.arange(rows).repeat(2)


def test_closed_gate_gives_zero_code_and_no_gradient():
    z, logits, indexes = batch()
    logits[3] = -5.0
    z.requires_grad_()
    logits.requires_grad_()
    result = bayesncl_objective(z, logits, indexes, non_neg="relu", temperature=0.2, **GATE)
    result.nce.backward()
    assert torch.isfinite(result.total)
    assert (result.codes[3] == 0).all()
    assert (z.grad[3] == 0).all()
    assert (logits.grad[3] == 0).all()
    assert z.grad[4].abs().max() > 0


def batch_with_one_empty_row(projector: nn.Module) -> tuple[torch.Tensor, int]:
    """(features, place of the row whose projection has no positive entry)."""
    for seed in range(1000):
        feats = torch.randn(32, 8, generator=torch.Generator().manual_seed(seed))
        empty = (projector(feats) < -0.05).all(dim=1).nonzero().flatten()
        if len(empty) == 1:
            return feats, int(empty)
    raise AssertionError("no seed yields a batch with exactly one empty row")


@pytest.mark.parametrize("method", ["ncl", "bayesncl"])
def test_training_on_an_empty_row_keeps_the_gradient_sane(method):
    """With `min_norm=0`, as in the official code, it is 1e11 and more, and ruins the run."""
    torch.manual_seed(0)
    projector, gating_head = mlp(8, 32, 6), mlp(8, 32, 6)
    gating_head[2].bias.data += 1.0
    with_empty_row, row = batch_with_one_empty_row(projector)
    without = with_empty_row.clone()
    without[row] = with_empty_row[row - 1] + 0.1

    def largest_gradient(feats: torch.Tensor, **options: float) -> float:
        parameters = [*projector.parameters(), *gating_head.parameters()]
        indexes = torch.arange(16).repeat(2)
        z = projector(feats)
        if method == "ncl":
            result = ncl_objective(z, indexes, non_neg="rep_relu", temperature=0.2, **options)
        else:
            options = {**GATE, **options}
            result = bayesncl_objective(
                z, gating_head(feats), indexes, non_neg="rep_relu", temperature=0.2, **options
            )
        gradients = torch.autograd.grad(result.total, parameters, allow_unused=True)
        return max(float(g.norm()) for g in gradients if g is not None)

    ordinary, with_empty = largest_gradient(without), largest_gradient(with_empty_row)
    assert ordinary / 10 < with_empty < ordinary * 10
    assert largest_gradient(without, min_norm=0.0) == ordinary
    assert largest_gradient(with_empty_row, min_norm=0.0) > 1e9 * ordinary


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("temperature", [0.2, 0.01])
def test_half_precision_is_finite_and_close_to_float32(dtype, temperature):
    z, logits, indexes = (t.float() if t.is_floating_point() else t for t in batch(seed=1))
    z, logits = z.to(dtype), logits.to(dtype)
    z[0] = -1.0  # an empty row
    options = {"non_neg": "relu", "temperature": temperature, **GATE}
    half_z, half_logits = z.clone().requires_grad_(), logits.clone().requires_grad_()
    half = bayesncl_objective(half_z, half_logits, indexes, **options)
    full = bayesncl_objective(z.float(), logits.float(), indexes, **options)
    half.total.backward()
    torch.testing.assert_close(half.total, full.total, rtol=1e-5, atol=1e-6)
    assert torch.isfinite(half_z.grad).all()
    assert torch.isfinite(half_logits.grad).all()


def test_autocast_does_not_change_the_objective():
    z, logits, indexes = (t.float() if t.is_floating_point() else t for t in batch(seed=2))
    options = {"non_neg": "rep_relu", "temperature": 0.05, **GATE}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = bayesncl_objective(z, logits, indexes, **options).total
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, bayesncl_objective(z, logits, indexes, **options).total)


def test_topk_applies_before_the_gate():
    z, logits, indexes = batch()
    logits[:] = 5.0
    result = bayesncl_objective(
        z, logits, indexes, non_neg="none", temperature=0.2, topk_k=4, **GATE
    )
    assert ((result.codes != 0).sum(dim=1) == 4).all()
    torch.testing.assert_close(result.codes, project(z, non_neg="none", topk_k=4))


def test_evaluation_code_is_the_training_code_where_the_gate_has_no_noise():
    z, logits, indexes = batch()
    options = {"gate_temperature": 0.5, "gate_threshold": 0.3}
    for gate_type in ("STE", "soft"):
        trained = bayesncl_objective(
            z,
            logits,
            indexes,
            non_neg="relu",
            temperature=0.2,
            prior_prob=0.8,
            kl_lambda=0.0,
            gate_type=gate_type,
            **options,
        )
        encoding = encode(z, logits, non_neg="relu", gate_type=gate_type, **options)
        torch.testing.assert_close(encoding.codes, trained.codes)
        torch.testing.assert_close(encoding.probs, trained.probs)
        torch.testing.assert_close(encoding.mask, trained.mask)


@pytest.mark.parametrize("gate_type", ["gumbel_sigmoid", "binary_concrete"])
def test_evaluation_code_of_a_sampling_gate_is_the_same_twice(gate_type):
    z, logits, _ = batch()
    first, second = (encode(z, logits, non_neg="relu", gate_type=gate_type).codes for _ in range(2))
    assert torch.equal(first, second)
    assert ((first != 0) <= (logits > 0)).all()


def test_soft_gate_that_is_nearly_closed_still_learns():
    z, logits, indexes = batch()
    logits = torch.full_like(logits, -4.0)
    z.requires_grad_()
    options = {**GATE, "gate_type": "soft"}
    bayesncl_objective(
        z, logits, indexes, non_neg="relu", temperature=0.2, **options
    ).nce.backward()
    assert (z.grad.abs().amax(dim=1) > 0).all()
    assert z.grad.abs().max() < 10


def test_kl_weight_only_scales_the_kl_term():
    z, logits, indexes = batch()
    totals = []
    for kl_lambda in (0.0, 0.5, 1.0):
        options = {**GATE, "kl_lambda": kl_lambda}
        totals.append(
            bayesncl_objective(z, logits, indexes, non_neg="relu", temperature=0.2, **options)
        )
    steps = [b.total - a.total for a, b in pairwise(totals)]
    torch.testing.assert_close(steps[0], steps[1])
    torch.testing.assert_close(steps[0], 0.5 * totals[0].kl)


@pytest.mark.parametrize("method", ["ncl", "bayesncl"])
def test_balance_of_the_codes_is_added_with_its_weight(method):
    z, logits, indexes = batch()
    options = {"non_neg": "relu", "temperature": 0.2}

    def result(**weight: float):
        if method == "ncl":
            return ncl_objective(z, indexes, **options, **weight)
        return bayesncl_objective(z, logits, indexes, **options, **GATE, **weight)

    without, with_balance = result(), result(balance_weight=0.3)
    assert without.balance == 0
    torch.testing.assert_close(with_balance.balance, balance(without.codes))
    torch.testing.assert_close(with_balance.total, without.total + 0.3 * with_balance.balance)


def test_gate_that_starts_at_the_prior_starts_with_little_kl():
    torch.manual_seed(0)
    gating_head = mlp(16, 64, 32)
    start_at_prior(gating_head, prior_prob=0.8, temperature=0.5)
    feats = torch.randn(64, 16)
    encoding = encode(torch.randn(64, 32), gating_head(feats), non_neg="relu", gate_temperature=0.5)
    assert abs(float(encoding.probs.mean()) - 0.8) < 0.03
