"""Linear probes: the optimum against scikit-learn's, subspaces, the rows that are used."""

from functools import cache
from math import inf, isnan

import pytest
import torch
import torch.nn.functional as F
from emulated_cuda import CUDA, EmulatedCuda
from sklearn.linear_model import LogisticRegression

from solo_bayesncl.evaluation import probes
from solo_bayesncl.evaluation.logistic_regression import fit_logistic_regression

C = 100.0


def random_codes(rows, dims, classes, signal=1.0, density=0.2):
    """Sparse non-negative unit rows, and labels; the larger `signal`, the easier to separate."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(rows) % classes
    prototypes = torch.randn(classes, dims, generator=generator)
    scores = signal * prototypes[labels] + torch.randn(rows, dims, generator=generator)
    return F.normalize(torch.relu(scores - scores.quantile(1 - density))), labels


def noise():
    return random_codes(300, 8, 5, signal=0)


def separable():
    return random_codes(300, 48, 6, signal=4)


def overlapping():
    return random_codes(400, 16, 20, signal=0.5)


def more_dimensions_than_rows():
    return random_codes(60, 200, 6)


def two_classes():
    return random_codes(200, 12, 2, signal=0.3)


def classes_of_few_rows():
    codes, labels = random_codes(300, 16, 12)
    labels[(labels > 3) & (torch.arange(300) > 24)] = 0
    return codes, labels


def gaps_in_labels():
    codes, labels = random_codes(200, 16, 4)
    return codes, 7 * labels + 3


def dead_dimensions():
    codes, labels = random_codes(300, 32, 5)
    codes[:, ::2] = 0
    return codes, labels


def rows_of_zeros():
    codes, labels = random_codes(300, 16, 5)
    codes[::3] = 0
    return codes, labels


def far_from_zero():
    codes, labels = random_codes(200, 16, 4)
    return codes + 0.5, labels


def scales_that_differ():
    codes, labels = random_codes(200, 16, 4)
    return codes * torch.logspace(-2, 1, 16), labels


CASES = [
    noise, separable, overlapping, more_dimensions_than_rows, two_classes, classes_of_few_rows,
    gaps_in_labels, dead_dimensions, rows_of_zeros, far_from_zero, scales_that_differ,
]  # fmt: skip


def objective(codes, labels, weight, bias):
    """scikit-learn's, of one column of weights for two classes or else one for each."""
    classes, targets = labels.unique(return_inverse=True)
    logits = codes.double() @ weight + bias
    if len(classes) == 2:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    return float(C * F.cross_entropy(logits, targets, reduction="sum") + weight.square().sum() / 2)


@cache
def optimum(case):
    """scikit-learn's classifier in float64 and its objective."""
    codes, labels = case()
    reference = LogisticRegression(C=C, tol=1e-10, max_iter=5000)
    reference.fit(codes.double().numpy(), labels.numpy())
    weight, bias = torch.from_numpy(reference.coef_.T), torch.from_numpy(reference.intercept_)
    return reference, objective(codes, labels, weight, bias)


def reached(codes, labels, probe):
    """The objective of a fitted probe, from its weights."""
    weight, bias = probe.weight.double(), probe.bias.double()
    if len(probe.classes) == 2:
        weight, bias = weight[:, 1:] - weight[:, :1], bias[1] - bias[0]
    return objective(codes, labels, weight, bias)


@pytest.mark.parametrize("case", CASES)
def test_objective_is_within_its_gap_of_the_optimum_of_scikit_learn(case):
    codes, labels = case()
    reference, best = optimum(case)
    probe = fit_logistic_regression(codes, labels, C)
    assert probe.objective == pytest.approx(reached(codes, labels, probe), rel=1e-5)
    assert 1 - 1e-6 < reached(codes, labels, probe) / best < 1 + probe.gap + 1e-6
    assert probe.gap <= 1e-4
    agree = probe.predict(codes).numpy() == reference.predict(codes.double().numpy())
    assert agree.mean() > 0.98


@pytest.mark.parametrize("evaluations", [1, 5, 20, 40])
@pytest.mark.parametrize("case", [separable, overlapping, classes_of_few_rows])
def test_the_bound_holds_on_the_way_to_the_optimum(case, evaluations):
    codes, labels = case()
    _, best = optimum(case)
    probe = fit_logistic_regression(codes, labels, C, max_evaluations=evaluations)
    assert probe.evaluations <= evaluations
    assert reached(codes, labels, probe) / best - 1 < probe.gap


def test_a_smaller_tolerance_is_reached_in_float64():
    codes, labels = overlapping()
    probe = fit_logistic_regression(codes.double(), labels, C, tolerance=1e-9)
    assert probe.gap <= 1e-9
    assert reached(codes, labels, probe) == pytest.approx(optimum(overlapping)[1], rel=1e-8)


def test_a_fit_continues_from_that_of_fewer_dimensions():
    codes, labels = separable()
    first = fit_logistic_regression(codes, labels, C)
    again = fit_logistic_regression(codes, labels, C, start=first)
    assert again.evaluations == 1
    assert again.objective == pytest.approx(first.objective)
    padded = F.pad(codes, (0, 1))
    assert fit_logistic_regression(padded, labels, C, start=first).evaluations == 1


def test_a_fit_is_the_same_every_time():
    first, second = (fit_logistic_regression(*overlapping(), C) for _ in range(2))
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)


@pytest.mark.skipif(
    not hasattr(torch._C, "_ensureCUDADeviceGuardSet"), reason="this torch cannot emulate CUDA"
)
def test_probes_on_the_gpu_are_those_on_the_cpu():
    codes, labels = overlapping()
    expected = probes.feature_selection(codes, labels, codes, labels)
    with EmulatedCuda():
        on_gpu = [tensor.to(CUDA) for tensor in (codes, labels)]
        assert probes.feature_selection(*on_gpu, *on_gpu) == expected
        assert fit_logistic_regression(*on_gpu, C).weight.device.type == "cuda"


def test_accuracy_of_separable_codes_is_perfect_and_of_noise_is_chance():
    labels = torch.arange(400) % 4
    codes = torch.eye(4)[labels]
    assert probes.feature_selection(codes, labels, codes, labels) == {"4": 100}
    generator = torch.Generator().manual_seed(0)
    noise = torch.nn.functional.normalize(torch.randn(800, 8, generator=generator))
    found = probes.feature_selection(noise[:400], labels, noise[400:], labels)
    assert found["8"] == pytest.approx(25, abs=3 * 100 * (0.25 * 0.75 / 400) ** 0.5)


def test_feature_selection_takes_the_most_active_dimensions():
    """Eight strong dimensions are noise, the weaker ones tell the class."""
    labels = torch.arange(200) % 2
    noise = 5 + torch.rand(200, 8, generator=torch.Generator().manual_seed(0))
    telling = torch.eye(2)[labels].repeat(1, 4)
    codes = torch.cat([telling, noise], dim=1)
    found = probes.feature_selection(codes, labels, codes, labels)
    assert list(found) == ["8", "16"]
    assert found["8"] < 80
    assert found["16"] == 100


def test_probes_of_many_images_take_a_fixed_choice_with_the_shares_of_classes():
    labels = torch.tensor([0] * 600 + [1] * 300 + [2] * 100)
    rows = probes.training_rows(labels, most=100)
    assert labels[rows].bincount().tolist() == [60, 30, 10]
    assert len(rows.unique()) == 100
    assert torch.equal(rows, probes.training_rows(labels, most=100))
    assert torch.equal(probes.training_rows(labels, most=1000), torch.arange(1000))


@pytest.mark.parametrize(
    ("labels", "most"),
    [([0] * 99 + [1], 50), (list(range(50)) * 2, 20), (list(range(50)) * 2, 98)],
)
def test_classes_too_small_for_their_share_do_not_stop_a_probe(labels, most):
    rows = probes.training_rows(torch.tensor(labels), most)
    assert len(rows.unique()) == most


def test_probe_that_does_not_converge_says_so(monkeypatch, caplog):
    caplog.set_level("INFO", "solo_bayesncl")
    labels = torch.arange(40) % 4
    codes = torch.rand(40, 8, generator=torch.Generator().manual_seed(0))
    probes.feature_selection(codes, labels, codes, labels)
    assert caplog.text == ""
    monkeypatch.setattr(probes, "MAX_EVALUATIONS", 2)
    probes.feature_selection(codes, labels, codes, labels)
    assert "8 dimensions stopped after 2 evaluations" in caplog.text


@pytest.mark.parametrize(
    ("dims", "sizes"),
    [
        (100, [8, 16, 32, 64, 100]),
        (256, [8, 16, 32, 64, 128, 256]),
        (300, [8, 32, 128, 300]),
        (2048, [8, 32, 128, 512, 2048]),
        (16384, [8, 64, 512, 4096, 16384]),
    ],
)
def test_selections_of_features_are_at_most_six(dims, sizes):
    assert probes.subspace_sizes(dims, least=8, most=6) == sizes


def test_subspaces_double_up_to_all_dimensions():
    assert probes.subspace_sizes(100, least=8) == [8, 16, 32, 64, 100]
    assert probes.subspace_sizes(64, least=32) == [32, 64]
    assert probes.subspace_sizes(5, least=8) == [5]


def test_feature_selection_takes_dimensions_in_the_order_given():
    labels = torch.arange(200) % 4
    codes = torch.cat([torch.eye(4)[labels], 5 + torch.zeros(200, 12)], dim=1)
    by_activation = probes.feature_selection(codes, labels, codes, labels)
    given = probes.feature_selection(codes, labels, codes, labels, order=torch.arange(16))
    assert by_activation == {"8": 25, "16": 100}
    assert given == {"8": 100, "16": 100}


@pytest.mark.parametrize("value", [inf, torch.nan])
def test_codes_that_are_not_finite_have_no_accuracy(value):
    codes, labels = overlapping()
    broken = codes.clone()
    broken[0, 0] = value
    for train, val in ((broken, codes), (codes, broken)):
        found = probes.feature_selection(train, labels, val, labels)
        assert list(found) == ["8", "16"]
        assert all(map(isnan, found.values()))


def test_a_single_class_has_no_accuracy():
    codes, labels = overlapping()
    found = probes.feature_selection(codes, 0 * labels, codes, labels)
    assert all(map(isnan, found.values()))
