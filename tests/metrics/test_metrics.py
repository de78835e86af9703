"""Interpretability metrics: golden numbers, a NumPy reference, batches, processes, bad input."""

import doctest
import importlib
import itertools
import math
import pkgutil
from pathlib import Path

import metrics_reference as reference
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, mutual_info_score
from torchmetrics import MetricCollection

from solo_bayesncl import metrics
from solo_bayesncl.errors import InputError
from solo_bayesncl.metrics import InterpretabilityMetrics, factors, retrieval, statistics

# The function of this name hides its module.
monosemanticity_module = importlib.import_module("solo_bayesncl.metrics.monosemanticity")

GOLDEN = Path(__file__).parents[1] / "golden/metrics"
GOLDEN_NAMES = {
    "active_dims": "active_dims",
    "activation_sparsity": "sparsity",
    "non_negative_ratio": "non_negative_ratio",
    "effective_rank": "effective_rank",
    "semantic_consistency": "semantic_consistency",
    "semantic_entropy_sum": "entropy_sum_activation",
    "semantic_entropy_mean": "entropy_mean_activation",
    "semantic_entropy_frequency": "entropy_frequency",
    "orthogonality_mean": "orthogonality_mean",
    "orthogonality_median": "orthogonality_median",
}
golden_case = pytest.mark.parametrize("case", ["deadrows", "nonneg", "signed", "sparse"])
quickly = settings(max_examples=15, deadline=None)


def golden(case):
    with np.load(GOLDEN / f"{case}.npz") as data:
        features, labels = (
            torch.from_numpy(data["in.features"]),
            torch.from_numpy(data["in.labels"]),
        )
        expected = {ours: float(data[f"out.{theirs}"]) for ours, theirs in GOLDEN_NAMES.items()}
        return features, labels, expected, data["out.retrieval"]


def by_functions(features, labels):
    """What the functions say, under the keys of `InterpretabilityMetrics.compute`."""
    values = {
        f"semantic_entropy_{weighting}": metrics.semantic_entropy(features, labels, weighting)
        for weighting in ("sum", "mean", "frequency")
    }
    for name, value in vars(metrics.orthogonality(features)).items():
        values[f"orthogonality_{name}"] = value
    for name in (
        "semantic_consistency",
        "adjusted_consistency",
        "weighted_consistency",
        "activation_weighted_consistency",
        "support_thresholded_consistency",
        "class_coverage",
    ):
        values[name] = getattr(metrics, name)(features, labels)
    for name in (
        "supported_dims",
        "paired_dims",
        "active_dims",
        "dead_dims",
        "code_length",
        "activation_sparsity",
        "hoyer_sparsity",
        "non_negative_ratio",
        "effective_rank",
    ):
        values[name] = getattr(metrics, name)(features)
    return {name: float(value) for name, value in values.items()}


def by_class(batches, num_classes):
    metric = InterpretabilityMetrics(num_classes)
    for features, labels in batches:
        metric.update(features, labels)
    return {name: float(value) for name, value in metric.compute().items()}


def same(expected, rel=1e-6):
    return pytest.approx(expected, rel=rel, abs=1e-12, nan_ok=True)


def random_codes(seed, samples=60, dims=12, classes=4):
    """Sparse signed codes of unit length; some dimensions are dead, some rows are zero."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(samples, dims)) * (rng.random((samples, dims)) < rng.random(dims))
    features[:, rng.random(dims) < 0.2] = 0
    features[rng.random(samples) < 0.1] = 0
    features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return torch.from_numpy(features), torch.from_numpy(rng.integers(0, classes, samples))


# Agreement


@golden_case
def test_functions_equal_the_golden_numbers(case):
    features, labels, expected, _ = golden(case)
    values = by_functions(features, labels)
    assert {name: values[name] for name in expected} == same(expected)


@golden_case
def test_streamed_batches_equal_the_golden_numbers(case):
    features, labels, expected, _ = golden(case)
    values = by_class(zip(features.split(37), labels.split(37), strict=True), num_classes=10)
    assert {name: values[name] for name in expected} == same(expected)


@golden_case
def test_retrieval_equals_the_golden_numbers_up_to_ties(case):
    features, labels, _, table = golden(case)
    num_dims = features.size(1)
    precision = metrics.retrieval_precision(features, labels, dims=[32, num_dims])
    expected = {int(row[0]): row[1:] for row in table}
    # From the number of dimensions on, all rows of the golden table say the same.
    expected = np.stack([expected[32], expected[512]])
    np.testing.assert_allclose(precision.numpy(), expected, atol=2 / len(labels))


@quickly
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 12), st.integers(1, 6))
def test_functions_equal_the_reference(seed, samples, dims, classes):
    features, labels = random_codes(seed, samples, dims, classes)
    expected = reference.everything(features.numpy(), labels.numpy())
    assert by_functions(features, labels) == same(expected)


@quickly
@given(st.integers(0, 2**32 - 1), st.data())
def test_batches_of_any_split_equal_the_functions(seed, data):
    features, labels = random_codes(seed)
    cuts = data.draw(st.sets(st.integers(1, len(labels) - 1), max_size=8).map(sorted))
    batches = zip(features.tensor_split(cuts), labels.tensor_split(cuts), strict=True)
    assert by_class(batches, num_classes=4) == same(by_functions(features, labels))


@quickly
@given(st.integers(0, 2**32 - 1))
def test_order_of_samples_and_dimensions_does_not_matter(seed):
    features, labels = random_codes(seed)
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randperm(len(labels), generator=generator)
    dims = torch.randperm(features.size(1), generator=generator)
    shuffled = by_functions(features[samples][:, dims], labels[samples])
    assert shuffled == same(by_functions(features, labels))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_are_left_as_they_were(dtype):
    features, labels = random_codes(0)
    features = features.to(dtype)
    before = features.clone()
    metrics.summary(features, labels)
    by_class([(features, labels)], num_classes=4)
    assert torch.equal(features, before)


def test_metrics_go_on_after_compute():
    features, labels = random_codes(0)
    metric = InterpretabilityMetrics(num_classes=4)
    for part in (slice(20), slice(20, None)):
        metric.update(features[part], labels[part])
        found = metric.compute()
    assert {k: float(v) for k, v in found.items()} == same(by_functions(features, labels))


def test_samples_seen_in_inference_mode_can_be_added_to_and_computed_outside_of_it():
    first, second = random_codes(0), random_codes(1)
    metric = InterpretabilityMetrics(num_classes=4)
    with torch.inference_mode():
        metric.update(*first)
    metric.compute()
    metric.update(*second)
    found = {name: float(value) for name, value in metric.compute().items()}
    assert found == same(by_class([first, second], num_classes=4))


def test_states_stay_in_float64_whatever_the_dtype_of_a_collection():
    batch = random_codes(0)
    metric = InterpretabilityMetrics(num_classes=4)
    MetricCollection([metric]).set_dtype(torch.float32)
    metric.update(*batch)
    found = {name: float(value) for name, value in metric.compute().items()}
    assert found == same(by_class([batch], num_classes=4))


def test_retrieval_from_shared_similarities_is_that_of_the_functions():
    features, labels = random_codes(0)
    found = retrieval.retrieval_metrics(features, labels, [3, 12], (1, 5), average_precision=True)
    expected = metrics.retrieval_precision(features, labels, [3, 12], (1, 5))
    torch.testing.assert_close(found.precision, expected)
    expected = metrics.mean_average_precision(features, labels)
    torch.testing.assert_close(found.mean_average_precision, expected)


def test_monosemanticity_of_several_spaces_is_that_of_each():
    (first, _), (second, _) = random_codes(0), random_codes(1, dims=5)
    embeddings = torch.randn(60, 7, generator=torch.Generator().manual_seed(0))
    found = monosemanticity_module.monosemanticities([first, second], embeddings)
    for features, score in zip((first, second), found, strict=True):
        expected = metrics.monosemanticity(features, embeddings)
        for name, value in vars(expected).items():
            torch.testing.assert_close(getattr(score, name), value, equal_nan=True)


def test_a_single_dimension_can_be_streamed():
    features, labels = torch.tensor([[1.0], [0.5], [0.0]]), torch.tensor([0, 2, 1])
    assert by_class([(features, labels)], num_classes=3) == same(by_functions(features, labels))


def test_gram_matrix_in_blocks_is_symmetric(monkeypatch):
    monkeypatch.setattr(statistics, "_GRAM_BLOCK", 5)
    features, labels = random_codes(0)
    metric = InterpretabilityMetrics(num_classes=4)
    metric.update(features[:30], labels[:30])
    metric.update(features[30:], labels[30:])
    metric.compute()
    torch.testing.assert_close(metric.gram, features.T @ features)


def test_names_of_classes_do_not_matter():
    features, labels = random_codes(0)
    assert by_functions(features, labels * 10**12) == by_functions(features, labels)


def test_work_in_chunks_equals_work_at_once(monkeypatch):
    features, labels = random_codes(0)
    at_once = by_functions(features, labels)
    others = (
        lambda: metrics.retrieval_precision(features, labels, dims=[12]),
        lambda: metrics.mean_average_precision(features, labels),
        lambda: metrics.mutual_information(features, labels),
        lambda: metrics.monosemanticity(features, features.roll(1, 0)).per_dimension,
    )
    others_at_once = [function() for function in others]
    monkeypatch.setattr(statistics, "_CHUNK_ENTRIES", 7 * 12)
    monkeypatch.setattr(statistics, "_GRAM_ROWS", 7)
    monkeypatch.setattr(statistics, "_GRAM_BLOCK", 5)
    monkeypatch.setattr(retrieval, "_CHUNK_SIMILARITIES", 7 * 60)
    monkeypatch.setattr(factors, "_CHUNK_ENTRIES", 5 * 60)
    monkeypatch.setattr(monosemanticity_module, "_CHUNK_ROWS", 7)
    assert by_functions(features, labels) == same(at_once)
    for function, expected in zip(others, others_at_once, strict=True):
        torch.testing.assert_close(function(), expected, equal_nan=True)


@pytest.mark.parametrize("seed", range(4))
def test_retrieval_equals_the_reference(seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.rand(40, 10, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (40,), generator=generator)
    precision = metrics.retrieval_precision(features, labels, dims=[2, 5, 10], ks=(1, 4, 39))
    expected = reference.retrieval_precision(
        features.numpy(), labels.numpy(), [2, 5, 10], [1, 4, 39]
    )
    np.testing.assert_allclose(precision.numpy(), expected, rtol=1e-12)


def test_retrieval_among_equally_near_samples_is_the_expected_precision():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 40)
    features = np.eye(5)[rng.integers(0, 5, 40)]
    features[:6] = 0
    precision = metrics.retrieval_precision(
        torch.from_numpy(features), torch.from_numpy(labels), dims=[2, 5], ks=(1, 5, 10, 39)
    )
    expected = reference.retrieval_precision(features, labels, [2, 5], [1, 5, 10, 39])
    np.testing.assert_allclose(precision.numpy(), expected, rtol=1e-12)


def test_retrieval_does_not_depend_on_the_order_of_samples():
    codes, labels = torch.eye(4)[torch.arange(60) % 4], torch.arange(60) % 7
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    precision = metrics.retrieval_precision(codes, labels, dims=[1, 4])
    shuffled = metrics.retrieval_precision(codes[order], labels[order], dims=[1, 4])
    torch.testing.assert_close(shuffled, precision)


# Precision and gradients


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_dtype_gives_what_its_values_give_in_float64(dtype):
    features, labels = random_codes(0)
    features = features.to(dtype)
    assert by_functions(features, labels) == same(by_functions(features.double(), labels))


def test_float16_is_close_to_float32():
    features, labels, _, _ = golden("nonneg")
    half, single = (by_functions(features.to(t), labels) for t in (torch.float16, torch.float32))
    assert half == pytest.approx(single, rel=2e-3)


def test_autocast_changes_nothing():
    features, labels = (x.float() if x.is_floating_point() else x for x in random_codes(0))
    expected = by_functions(features, labels)
    others = (
        lambda: metrics.retrieval_precision(features, labels, dims=[12]),
        lambda: metrics.mean_average_precision(features, labels),
        lambda: metrics.monosemanticity(features, features).mean,
    )
    others_without = [function() for function in others]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert by_functions(features, labels) == expected
        assert by_class([(features, labels)], num_classes=4) == same(expected)
        assert all(f().equal(value) for f, value in zip(others, others_without, strict=True))


def test_metrics_keep_no_gradient_history():
    features, labels = random_codes(0)
    metric = InterpretabilityMetrics(4)
    metric.update(features.requires_grad_(), labels)
    assert not any(value.requires_grad for value in metric.compute().values())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_labels_of_any_integer_type_are_the_same_labels(dtype):
    features, labels = random_codes(0)
    assert by_functions(features, labels.to(dtype)) == by_functions(features, labels)


# Support of a dimension


def test_dimensions_without_support_count_only_in_the_official_consistency():
    rare, common = torch.zeros(100), torch.ones(100)
    rare[0] = 1.0
    features, labels = torch.stack([rare, common], dim=1), torch.arange(100) % 2
    assert metrics.semantic_consistency(features, labels) == pytest.approx((1 + 0.5) / 2)
    assert metrics.weighted_consistency(features, labels) == pytest.approx((1 + 50) / 101)
    thresholded = metrics.support_thresholded_consistency
    assert thresholded(features, labels, min_share=0.02) == pytest.approx(0.5)
    assert thresholded(features, labels, min_share=0.01) == pytest.approx(0.75)


def test_support_threshold_of_zero_is_the_official_consistency():
    features, labels = random_codes(0)
    thresholded = metrics.support_thresholded_consistency(features, labels, min_share=0.0)
    assert thresholded == metrics.semantic_consistency(features, labels)


def test_support_threshold_of_zero_supports_every_live_dimension():
    features, _ = random_codes(0)
    assert metrics.supported_dims(features, min_share=0) == metrics.active_dims(features)


def test_weak_activations_count_for_little_where_consistency_is_weighted_by_activation():
    codes, labels = torch.tensor([[1.0], [1.0], [0.01], [0.01]]), torch.tensor([0, 0, 1, 1])
    assert metrics.weighted_consistency(codes, labels) == 0.5
    assert metrics.activation_weighted_consistency(codes, labels) == pytest.approx(2 / 2.02)


def test_a_class_owns_a_dimension_by_more_than_half_of_two_or_more_samples():
    dense, lone, even, owned = torch.zeros(4, 12).unbind()
    dense[:], lone[0], even[[3, 4]], owned[[3, 6, 7]] = 1, 1, 1, 1
    labels = torch.tensor([0, 1, 2]).repeat(4)
    labels[[6, 7]] = 2
    for column, classes in ((dense, 0), (lone, 0), (even, 0), (owned, 1)):
        assert metrics.class_coverage(column.unsqueeze(1), labels) == classes


def test_a_class_that_owns_two_dimensions_is_covered_once():
    labels = torch.arange(3).repeat(4)
    codes = torch.eye(3)[labels]
    assert metrics.class_coverage(codes.repeat(1, 2), labels) == 3


def test_hoyer_sparsity_depends_on_the_proportions_of_a_sample_alone():
    features, _ = random_codes(0)
    scaled = features * torch.arange(1.0, 61.0).unsqueeze(1)
    assert metrics.hoyer_sparsity(scaled) == pytest.approx(float(metrics.hoyer_sparsity(features)))


def test_hoyer_sparsity_of_a_single_dimension_is_undefined():
    assert metrics.hoyer_sparsity(torch.tensor([[0.3], [0.7]])).isnan()


# Chance


def test_adjusted_consistency_is_zero_over_all_orders_of_the_labels():
    labels = (0, 0, 0, 1, 1, 2)
    supports = torch.arange(6).unsqueeze(1) < torch.tensor([2, 3, 5, 6])
    values = [
        metrics.adjusted_consistency(supports.double(), torch.tensor(order))
        for order in itertools.permutations(labels)
    ]
    assert torch.stack(values).mean() == pytest.approx(0, abs=1e-12)


def test_adjusted_consistency_of_shuffled_labels_is_zero_within_its_standard_error():
    features, labels = random_codes(0, samples=200)
    generator = torch.Generator().manual_seed(0)
    values = torch.stack(
        [
            metrics.adjusted_consistency(features, labels[torch.randperm(200, generator=generator)])
            for _ in range(300)
        ]
    )
    assert abs(values.mean()) < 3 * values.std() / 300**0.5 < 0.002


def test_adjusted_consistency_is_one_where_every_dimension_belongs_to_one_class():
    labels = torch.tensor([0, 0, 1, 1, 1, 2, 2])
    assert metrics.adjusted_consistency(torch.eye(3)[labels], labels) == 1


def test_adjusted_consistency_does_not_depend_on_the_number_of_active_samples():
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 1, 0, 1, 2])
    # Every dimension is active on another subset of the first seven samples, all of one size.
    by_size = {}
    for size in range(2, 8):
        subsets = list(itertools.combinations(range(7), size))
        codes = torch.zeros(10, len(subsets))
        for dim, subset in enumerate(subsets):
            codes[list(subset), dim] = 1
        by_size[size] = [
            float(metric(codes, labels))
            for metric in (metrics.adjusted_consistency, metrics.semantic_consistency)
        ]
    adjusted, official = zip(*by_size.values(), strict=True)
    assert adjusted == pytest.approx([adjusted[-1]] * 6, abs=1e-12)
    assert official[0] > official[-1] + 0.04  # fewer samples, higher consistency


def test_dimensions_of_a_single_sample_are_left_out_of_the_adjusted_consistency():
    codes, labels = torch.eye(4), torch.tensor([0, 0, 1, 1])
    assert metrics.adjusted_consistency(codes, labels).isnan()
    assert metrics.paired_dims(codes) == 0
    codes[:2, 0] = 1
    assert metrics.adjusted_consistency(codes, labels) == metrics.paired_dims(codes) == 1


def test_null_of_perfect_codes_is_the_consistency_of_chance():
    labels = torch.arange(4).repeat_interleave(500)
    codes = torch.eye(4)[labels]
    assert metrics.semantic_consistency(codes, labels) == 1
    assert metrics.shuffled_label_null(codes, labels) == pytest.approx(0.25, abs=0.06)


def test_null_repeats_with_its_generator():
    features, labels = random_codes(0)
    first, second = (
        metrics.shuffled_label_null(features, labels, torch.Generator().manual_seed(3))
        for _ in range(2)
    )
    assert first == second


def test_null_is_the_mean_over_its_permutations():
    features, labels = random_codes(0)
    generator, again = (torch.Generator().manual_seed(3) for _ in range(2))
    one_by_one = [
        metrics.shuffled_label_null(features, labels, generator, permutations=1) for _ in range(4)
    ]
    together = metrics.shuffled_label_null(features, labels, again, permutations=4)
    assert len(set(one_by_one)) > 1
    assert together == pytest.approx(float(sum(one_by_one)) / 4)


def test_null_leaves_the_labels_as_they_were():
    features, labels = random_codes(0)
    before = labels.clone()
    metrics.shuffled_label_null(features, labels)
    assert labels.equal(before)


# Single dimensions


@quickly
@given(st.integers(0, 2**32 - 1))
def test_averages_are_means_of_the_columns(seed):
    features, labels = random_codes(seed)
    table = metrics.per_dimension(features, labels, num_classes=9)
    values = by_functions(features, labels)
    for column, name in (
        ("consistency", "semantic_consistency"),
        ("adjusted_consistency", "adjusted_consistency"),
        ("entropy", "semantic_entropy_sum"),
    ):
        assert float(table[column].nanmean()) == same(values[name])
    assert float(table["density"].sum()) == same(values["code_length"])


def test_columns_describe_each_dimension():
    codes = torch.tensor([[0.5, 0, 0, 0], [0.3, 0, 0.2, 0], [0.1, 0.4, 0.2, 0], [0, 0, 9e-6, 0]])
    table = metrics.per_dimension(codes, torch.tensor([1, 1, 0, 0]), num_classes=3)
    nan = math.nan
    expected = {
        "support": [3, 1, 2, 0],
        "density": [0.75, 0.25, 0.5, 0.0],
        # 9e-6 is not active: it has no part in the mean
        "mean_activation": [0.3, 0.4, 0.2, nan],
        "consistency": [2 / 3, 1.0, 0.5, nan],
        # two of the six pairs of samples share a class by chance: 1/3
        "adjusted_consistency": [0.0, nan, -0.5, nan],
        "owner": [1, 0, 0, -1],
        "class_counts": [[1, 2, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0]],
    }
    assert set(table) == {*expected, "entropy"}
    for name, column in expected.items():
        assert np.array(table[name]) == pytest.approx(np.array(column), nan_ok=True)
    integers = {name for name, column in table.items() if column.dtype == torch.int64}
    assert integers == {"support", "owner", "class_counts"}
    assert all(table[name].dtype == torch.float64 for name in set(table) - integers)


# Factors


@quickly
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.booleans())
def test_mutual_information_is_that_of_sklearn_less_its_bias(seed, bins, rounded):
    features, factor = random_codes(seed)
    features = features.mul(4).round() / 4 if rounded else features  # many equal values
    states = [reference.states(column, bins) for column in features.numpy().T]
    expected = [
        mutual_info_score(state, factor) - (len(set(state)) - 1) * (len(set(factor)) - 1) / 120
        for state, factor in ((state, factor.tolist()) for state in states)
    ]
    values = metrics.mutual_information(features, factor, bins)
    np.testing.assert_allclose(values, expected, atol=1e-12)


def test_mutual_information_of_an_unrelated_factor_is_zero_on_average():
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(400, 300, generator=generator) - 0.5
    factor = torch.randint(0, 5, (400,), generator=generator)
    values = metrics.mutual_information(features.relu(), factor)
    bias = 4 * 4 / 800
    assert abs(values.mean()) < 3 * values.std() / 300**0.5 < bias / 10


def test_mutual_information_of_a_factor_that_a_dimension_spells_out_is_its_entropy():
    factor = torch.arange(4).repeat(500)
    values = metrics.mutual_information((factor / 4).unsqueeze(1), factor)
    assert values == pytest.approx(math.log(4) - 3 * 3 / 4000)


def test_equal_activations_share_a_state():
    # Two thirds of the samples at 1: they are not split, in whatever order they come.
    features = torch.tensor([[1.0], [1.0], [1.0], [1.0], [0.2], [0.3]]).repeat(20, 1)
    factor = torch.tensor([0, 1, 0, 1, 0, 1]).repeat(20)
    values = metrics.mutual_information(features, factor, bins=2)
    assert values == pytest.approx(-1 / 240)


def test_mutual_information_depends_on_levels_not_on_their_names():
    features, factor = random_codes(0)
    values = metrics.mutual_information(features, factor)
    assert metrics.mutual_information(features, factor * 10**12).equal(values)


def test_a_dimension_of_one_state_has_no_information():
    constant = torch.tensor([[0.0, 0.7]]).repeat(5, 1)
    assert metrics.mutual_information(constant, torch.arange(5)).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("column", "levels", "kind"),
    [
        (["b", "a", "b"], [1, 0, 1], "categorical"),
        (["10", "9", "9.0"], [1, 0, 0], "categorical"),
        ([0.5, -1.0, 0.5], [1, 0, 1], "categorical"),
        (["", None, "1"], [0, 0, 1], "categorical"),
        (list(map(str, range(20))), list(range(20)), "categorical"),
        (list(map(str, range(24))), [i // 3 for i in range(24)], "binned"),
        (["0"] * 60 + list(map(str, range(1, 21))), [0] * 60 + [1] * 10 + [2] * 10, "binned"),
        (["nan", *map(str, range(1, 25))], None, "categorical"),
    ],
)
def test_columns_become_levels(column, levels, kind):
    found = metrics.levels_of(column)
    assert found.kind == kind
    assert found.levels.dtype == torch.int64
    assert sorted(set(found.levels.tolist())) == list(range(found.num_levels))
    assert levels is None or found.levels.tolist() == levels


# Monosemanticity


@quickly
@given(st.integers(0, 2**32 - 1), st.integers(2, 20))
def test_monosemanticity_is_the_weighted_mean_over_pairs(seed, samples):
    features, _ = random_codes(seed, samples, dims=6)
    embeddings = random_codes(seed + 1, samples, dims=4)[0] * 3
    result = metrics.monosemanticity(features, embeddings)
    columns = [reference.monosemanticity(c, embeddings.numpy()) for c in features.numpy().T]
    np.testing.assert_allclose(result.per_dimension, columns, atol=1e-9)
    defined = [value for value in columns if not math.isnan(value)]
    assert float(result.mean) == same(reference.mean(defined), rel=1e-9)
    vectors = reference.unit(embeddings.numpy())
    cosines = [float(a @ b) for a, b in itertools.combinations(vectors, 2)]
    assert float(result.chance) == same(reference.mean(cosines), rel=1e-9)


def test_a_dimension_without_pairs_or_without_differences_has_no_monosemanticity():
    dead, lone, constant = torch.zeros(5), torch.tensor([0.0, 1, 0, 0, 0]), torch.full((5,), 0.4)
    result = metrics.monosemanticity(torch.stack([dead, lone, constant], 1), torch.eye(5))
    assert result.per_dimension.isnan().all()
    assert result.mean.isnan()
    assert result.chance == pytest.approx(0)


def test_monosemanticity_compares_directions_and_nothing_is_similar_to_zero():
    codes = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    embeddings = torch.tensor([[1.0, 0.0], [9.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    assert metrics.monosemanticity(codes, embeddings).per_dimension.tolist() == [1, 0]


# Mean average precision


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_the_mean_over_the_orders_of_equally_near_samples(seed):
    rng = np.random.default_rng(seed)
    features, labels = np.eye(4)[rng.integers(0, 3, 7)], rng.integers(0, 3, 7)
    features[0] = 0
    value = metrics.mean_average_precision(torch.from_numpy(features), torch.from_numpy(labels))
    expected = reference.mean_average_precision(features, labels)
    assert value == pytest.approx(expected, rel=1e-12)


def test_average_precision_without_ties_is_that_of_sklearn():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(50, 10, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (50,), generator=generator)
    unit = torch.nn.functional.normalize(features)
    expected = [
        average_precision_score(labels[others] == labels[query], unit[others] @ unit[query])
        for query in range(50)
        for others in [torch.arange(50) != query]
    ]
    value = metrics.mean_average_precision(features, labels)
    assert value == pytest.approx(np.mean(expected), rel=1e-12)


def test_queries_without_a_partner_are_left_out_of_average_precision():
    codes, labels = torch.eye(3)[[0, 0, 1, 2]], torch.tensor([0, 0, 1, 2])
    assert metrics.mean_average_precision(codes, labels) == 1
    assert metrics.mean_average_precision(torch.eye(4), torch.arange(4)).isnan()


def test_average_precision_of_codes_that_are_all_alike_is_near_the_share_of_a_label():
    labels = torch.arange(1000) % 2
    value = metrics.mean_average_precision(torch.ones(1000, 3), labels)
    assert value == pytest.approx(0.5, abs=0.005)


def test_average_precision_does_not_depend_on_the_order_of_samples():
    codes, labels = torch.eye(4)[torch.arange(60) % 4], torch.arange(60) % 7
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        metrics.mean_average_precision(codes[order], labels[order]),
        metrics.mean_average_precision(codes, labels),
    )


# Degenerate codes


def test_codes_without_any_activation_have_no_consistency_rank_or_angles():
    values = by_functions(torch.zeros(5, 3), torch.arange(5))
    defined = {
        "supported_dims": 0.0,
        "paired_dims": 0.0,
        "class_coverage": 0.0,
        "active_dims": 0.0,
        "dead_dims": 3.0,
        "code_length": 0.0,
        "activation_sparsity": 1.0,
        "non_negative_ratio": 1.0,
    }
    assert values == same({name: defined.get(name, float("nan")) for name in values})
    assert by_class([(torch.zeros(5, 3), torch.arange(5))], num_classes=5) == same(values)


def test_one_class_is_fully_consistent_without_entropy():
    features, _ = random_codes(0)
    values = by_functions(features, torch.zeros(len(features), dtype=torch.int64))
    assert values["semantic_consistency"] == values["weighted_consistency"] == 1
    assert values["semantic_entropy_sum"] == values["semantic_entropy_frequency"] == 0
    assert math.copysign(1, values["semantic_entropy_sum"]) == 1  # 0.0, not -0.0
    assert math.isnan(values["adjusted_consistency"])
    assert values["class_coverage"] == 1


def test_an_all_zero_row_counts_as_a_sample_that_activates_nothing():
    features, labels = torch.eye(3), torch.arange(3)
    with_zero_row = torch.cat([features, torch.zeros(1, 3)])
    labels_of_four = torch.tensor([0, 1, 2, 0])
    assert metrics.code_length(with_zero_row) == pytest.approx(3 / 4)
    assert metrics.semantic_consistency(with_zero_row, labels_of_four) == (
        metrics.semantic_consistency(features, labels)
    )
    precision = metrics.retrieval_precision(with_zero_row, labels_of_four, dims=[3], ks=(3,))
    assert precision == pytest.approx(2 / 12)


def test_one_live_dimension_has_rank_one_and_no_angles():
    features = torch.tensor([[1.0, 0.0], [0.5, 0.0]])
    assert metrics.effective_rank(features) == pytest.approx(0, abs=2e-6)
    assert metrics.orthogonality(features).mean.isnan()


def test_rank_of_fewer_samples_than_dimensions_has_no_rounding_noise():
    features = torch.randn(20, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert metrics.effective_rank(features) == pytest.approx(
        reference.effective_rank(features.numpy()), rel=1e-9
    )


def test_entries_of_exactly_the_threshold_are_not_active():
    features = torch.tensor([[1e-5, 1.1e-5, -1.1e-5]], dtype=torch.float64)
    assert metrics.active_dims(features) == 2


# Streaming


def test_state_does_not_grow_with_the_samples():
    def sizes(metric):
        return {name: getattr(metric, name).numel() for name in metric._defaults}

    metric = InterpretabilityMetrics(4)
    metric.update(*random_codes(0))
    after_one_batch = sizes(metric)
    for seed in range(1, 10):
        metric.update(*random_codes(seed))
    assert sizes(metric) == after_one_batch
    assert sum(after_one_batch.values()) == 12 * 12 + 2 * 4 * 12 + 4 + 3


def test_forward_gives_the_batch_and_compute_gives_all():
    metric = InterpretabilityMetrics(4)
    first, second = random_codes(0), random_codes(1)
    metric(*first)
    of_batch = {name: float(value) for name, value in metric(*second).items()}
    assert of_batch == same(by_functions(*second))
    everything = {name: float(value) for name, value in metric.compute().items()}
    assert everything == same(by_class([first, second], num_classes=4))


def test_reset_forgets_samples_and_number_of_dimensions():
    metric = InterpretabilityMetrics(4)
    metric.update(*random_codes(0, dims=9))
    metric.reset()
    metric.update(*random_codes(1))
    values = {name: float(value) for name, value in metric.compute().items()}
    assert values == same(by_functions(*random_codes(1)))


def test_classes_that_never_occur_change_nothing():
    batch = random_codes(0)
    assert by_class([batch], num_classes=50) == same(by_class([batch], num_classes=4))


def compute_in_a_process(rank):
    features, labels = random_codes(0)
    shared, alone = InterpretabilityMetrics(4), InterpretabilityMetrics(4)
    rows = slice(0, 45) if rank == 0 else slice(45, None)
    shared.update(features[rows], labels[rows])
    if rank == 0:
        alone.update(features, labels)
    return shared.compute(), alone.compute()


@pytest.mark.filterwarnings("ignore")
def test_two_processes_equal_one_even_if_one_of_them_saw_nothing(process_pool):
    expected = by_functions(*random_codes(0))
    for found in process_pool.run(compute_in_a_process):
        for values in found:
            assert {name: float(value) for name, value in values.items()} == same(expected)


# Bad input


FEATURES, LABELS = torch.eye(4), torch.arange(4)
bad_features = pytest.mark.parametrize(
    ("features", "message"),
    [
        (torch.zeros(0, 4), r"at least one of each, not \(0, 4\)"),
        (torch.zeros(4, 0), r"at least one of each, not \(4, 0\)"),
        (torch.zeros(4), r"not \(4,\)"),
        (torch.zeros(4, 2, 2), r"not \(4, 2, 2\)"),
        (torch.zeros(4, 4, dtype=torch.int64), "not torch.int64"),
        (np.zeros((4, 4)), "not ndarray"),
        (torch.full((4, 4), float("nan")), "NaN or inf"),
        (torch.eye(4) / torch.tensor([1.0, 1.0, 1.0, 0.0]), "NaN or inf"),
    ],
)
bad_labels = pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.arange(5), r"give shape \(4,\).*not \(5,\)"),
        (torch.zeros(4, 1, dtype=torch.int64), r"not \(4, 1\)"),
        (torch.zeros(4), "not torch.float32"),
        (torch.zeros(4, dtype=torch.bool), "not torch.bool"),
        ([0, 1, 2, 3], "not list"),
        (torch.tensor([0, -1, 2, 3]), "from -1 to 3"),
    ],
)


@bad_features
def test_bad_features_are_refused(features, message):
    for function in (
        metrics.supported_dims,
        metrics.paired_dims,
        metrics.active_dims,
        metrics.dead_dims,
        metrics.code_length,
        metrics.activation_sparsity,
        metrics.hoyer_sparsity,
        metrics.non_negative_ratio,
        metrics.effective_rank,
        metrics.orthogonality,
        lambda features: metrics.per_dimension(features, LABELS, 4),
        lambda features: metrics.mutual_information(features, LABELS),
        lambda features: metrics.monosemanticity(features, FEATURES),
    ):
        with pytest.raises(InputError, match=f"features: .*{message}"):
            function(features)
    with pytest.raises(InputError, match=f"embeddings: .*{message}"):
        metrics.monosemanticity(FEATURES, features)
    with pytest.raises(InputError, match=f"codes: .*{message}"):
        InterpretabilityMetrics(4).update(features, LABELS)


@bad_labels
def test_bad_labels_are_refused(labels, message):
    for function in (
        metrics.semantic_consistency,
        metrics.adjusted_consistency,
        metrics.weighted_consistency,
        metrics.activation_weighted_consistency,
        metrics.support_thresholded_consistency,
        metrics.shuffled_label_null,
        metrics.class_coverage,
        metrics.mean_average_precision,
        lambda *given: metrics.per_dimension(*given, num_classes=4),
        lambda *given: metrics.semantic_entropy(*given, "sum"),
        lambda *given: metrics.retrieval_precision(*given, dims=[4]),
        InterpretabilityMetrics(4).update,
    ):
        with pytest.raises(InputError, match=f"labels: .*{message}"):
            function(FEATURES, labels)
    with pytest.raises(InputError, match=f"factor: .*{message}"):
        metrics.mutual_information(FEATURES, labels)


def test_large_finite_values_are_not_taken_for_inf():
    assert metrics.active_dims(torch.full((4, 4), 6e4, dtype=torch.float16)) == 4


def test_labels_from_num_classes_on_are_refused():
    with pytest.raises(InputError, match="from 0 to 3, accepted is 0 to num_classes - 1"):
        InterpretabilityMetrics(3).update(FEATURES, LABELS)
    with pytest.raises(InputError, match="from 0 to 3, accepted is 0 to num_classes - 1"):
        metrics.per_dimension(FEATURES, LABELS, num_classes=3)


def test_a_refused_batch_leaves_the_state_alone():
    metric = InterpretabilityMetrics(4)
    metric.update(FEATURES, LABELS)
    with pytest.raises(InputError, match="got 2 dimensions after batches of 4"):
        metric.update(torch.eye(2), torch.arange(2))
    assert metric.compute()["active_dims"] == 4


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_compute_before_the_first_batch_is_refused():
    with pytest.raises(InputError, match="no samples yet"):
        InterpretabilityMetrics(4).compute()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: InterpretabilityMetrics(0), "num_classes=0"),
        (lambda: metrics.semantic_entropy(FEATURES, LABELS, "max"), "sum, mean, frequency"),
        (
            lambda: metrics.support_thresholded_consistency(FEATURES, LABELS, min_share=20),
            "min_share=20: .* from 0 to 1",
        ),
        (
            lambda: metrics.supported_dims(FEATURES, min_share=-0.1),
            "min_share=-0.1: .* from 0 to 1",
        ),
        (
            lambda: metrics.shuffled_label_null(FEATURES, LABELS, permutations=0),
            "permutations=0: .*1 or more",
        ),
        (lambda: metrics.per_dimension(FEATURES, LABELS, num_classes=0), "num_classes=0"),
        (lambda: metrics.mutual_information(FEATURES, LABELS, bins=0), "bins=0: .*from 1 to 255"),
        (lambda: metrics.levels_of(["1"], bins=256), "bins=256: .*from 1 to 255"),
        (lambda: metrics.levels_of([]), "column: is empty"),
        (
            lambda: metrics.monosemanticity(FEATURES, torch.eye(3)),
            "embeddings: got 3 rows for the 4 rows of features",
        ),
        (
            lambda: metrics.retrieval_precision(FEATURES, LABELS, dims=[2, 5]),
            r"dims=\[2, 5\]: .*from 1 to 4, the number of dimensions",
        ),
        (
            lambda: metrics.retrieval_precision(FEATURES, LABELS, dims=[0], ks=(1,)),
            r"dims=\[0\]",
        ),
        (
            lambda: metrics.retrieval_precision(FEATURES, LABELS, dims=[4], ks=(1, 4)),
            r"ks=\[1, 4\]: .*from 1 to 3, the number of other samples",
        ),
        (lambda: metrics.retrieval_precision(FEATURES, LABELS, dims=[], ks=(1,)), r"dims=\[\]"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(call, message):
    with pytest.raises(InputError, match=message):
        call()


# Documentation


@pytest.mark.parametrize("module", [name for _, name, _ in pkgutil.iter_modules(metrics.__path__)])
def test_examples_in_docstrings_run(module):
    module = importlib.import_module(f"solo_bayesncl.metrics.{module}")
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("name", metrics.__all__)
def test_every_public_name_has_an_example_or_is_a_result(name):
    results = {"Orthogonality", "Monosemanticity", "Levels", "ACTIVE"}
    assert name in results or ">>>" in getattr(metrics, name).__doc__


def test_summary_of_one_batch_is_what_the_class_computes():
    features = torch.randn(20, 33, dtype=torch.float64).relu()
    labels = torch.randint(0, 4, (20,))
    streamed = metrics.InterpretabilityMetrics(num_classes=4)
    streamed.update(features, labels)
    expected = streamed.compute()
    summary = metrics.summary(features, labels)
    assert set(summary) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(summary[name], value, rtol=1e-6, atol=1e-9)
