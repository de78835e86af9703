"""The interpretability metrics as their definitions read: NumPy, float64, loops."""

import math
from itertools import combinations, pairwise, permutations

import numpy as np

ACTIVE = 1e-5


def samples_by_class(column, labels):
    """For one dimension: class -> how many of its samples are active."""
    return {c: int((np.abs(column[labels == c]) > ACTIVE).sum()) for c in np.unique(labels)}


def live_columns(features):
    return [column for column in features.T if (np.abs(column) > ACTIVE).any()]


def mean(values):
    return sum(values) / len(values) if values else math.nan


def semantic_consistency(features, labels, min_share=0.0):
    purities = []
    for column in live_columns(features):
        counts = samples_by_class(column, labels).values()
        if sum(counts) / len(labels) >= min_share:
            purities.append(max(counts) / sum(counts))
    return mean(purities)


def weighted_consistency(features, labels):
    agreeing = activations = 0
    for column in live_columns(features):
        counts = samples_by_class(column, labels).values()
        agreeing += max(counts)
        activations += sum(counts)
    return agreeing / activations if activations else math.nan


def activation_weighted_consistency(features, labels):
    largest = total = 0.0
    for column in features.T:
        weights = [np.abs(column[labels == c]).sum() for c in np.unique(labels)]
        largest += max(weights)
        total += sum(weights)
    return largest / total if total else math.nan


def share_within_a_class(labels):
    """Of all pairs, counted one by one."""
    return mean([float(a == b) for a, b in combinations(labels, 2)])


def paired_columns(features):
    return [column for column in features.T if (np.abs(column) > ACTIVE).sum() >= 2]


def adjusted_consistency(features, labels):
    chance = share_within_a_class(labels)
    if len(np.unique(labels)) == 1:
        return math.nan
    shares = [share_within_a_class(labels[np.abs(c) > ACTIVE]) for c in paired_columns(features)]
    return mean([(share - chance) / (1 - chance) for share in shares])


def supported_dims(features, min_share=0.01):
    return sum((np.abs(c) > ACTIVE).mean() >= min_share for c in live_columns(features))


def class_coverage(features, labels):
    owners = set()
    for column in paired_columns(features):
        counts = samples_by_class(column, labels)
        owners |= {c for c in counts if counts[c] > sum(counts.values()) / 2}
    return len(owners)


def semantic_entropy(features, labels, weighting):
    weigh = {
        "sum": lambda values: np.abs(values).sum(),
        "mean": lambda values: np.abs(values).mean(),
        "frequency": lambda values: (np.abs(values) > ACTIVE).sum(),
    }[weighting]
    entropies = []
    for column in features.T:
        weights = [weigh(column[labels == c]) for c in np.unique(labels)]
        if sum(weights) > 1e-5:
            shares = [w / sum(weights) for w in weights]
            entropies.append(-sum(p * math.log(p) for p in shares if p > 1e-5))
    return mean(entropies)


def active_dims(features):
    return len(live_columns(features))


def code_length(features):
    return mean([int((np.abs(row) > ACTIVE).sum()) for row in features])


def activation_sparsity(features):
    return mean([float(abs(value) <= ACTIVE) for value in features.flat])


def hoyer_sparsity(features):
    root = math.sqrt(features.shape[1])
    ratios = [np.abs(x).sum() / np.sqrt((x**2).sum()) for x in features if x.any()]
    return mean([(root - ratio) / (root - 1) for ratio in ratios]) if root > 1 else math.nan


def non_negative_ratio(features):
    return mean([float(value >= 0) for value in features.flat])


def effective_rank(features):
    singular_values = np.linalg.svd(features, compute_uv=False)
    if singular_values.sum() == 0:
        return math.nan
    shares = singular_values / singular_values.sum()
    return -sum(p * math.log(p + 1e-6) for p in shares)


def orthogonality(features):
    """(mean, median, mean_abs_cosine)."""
    columns = [column / np.linalg.norm(column) for column in live_columns(features)]
    d = len(columns)
    if d < 2:
        return math.nan, math.nan, math.nan
    pairs = [abs(a @ b) for i, a in enumerate(columns) for j, b in enumerate(columns) if i != j]
    matrix = sorted(pairs + [0.0] * d)
    official = d * (d - 1)
    return mean(matrix) / official, matrix[(d * d - 1) // 2] / official, mean(pairs)


def unit(rows):
    return np.array([row / max(np.linalg.norm(row), 1e-12) for row in rows])


def retrieval_precision(features, labels, dims, ks):
    features = unit(features)
    order = sorted(range(features.shape[1]), key=lambda d: -features[:, d].sum())
    table = []
    for kept in dims:
        rows = unit(features[:, order[:kept]])
        precision = {k: [] for k in ks}
        for query, row in enumerate(rows):
            levels = {}  # similarity -> whether each sample that is so near has the query's label
            for j, other in enumerate(rows):
                if j != query:
                    levels.setdefault(row @ other, []).append(labels[j] == labels[query])
            for k in ks:
                hits, places = 0.0, k
                for level in sorted(levels, reverse=True):
                    taken = min(places, len(levels[level]))
                    hits += taken * mean(levels[level])
                    places -= taken
                precision[k].append(hits / k)
        table.append([mean(precision[k]) for k in ks])
    return table


def average_precision(ranked):
    """Of the labels-agree flags of samples in their order."""
    return mean([sum(ranked[: i + 1]) / (i + 1) for i, is_hit in enumerate(ranked) if is_hit])


def mean_average_precision(features, labels):
    """Over every order of all samples that keeps nearer ones before farther ones."""
    features = unit(features)
    precision = []
    for query, row in enumerate(features):
        others = [j for j in range(len(labels)) if j != query]
        if not any(labels[j] == labels[query] for j in others):
            continue
        similarities = [row @ features[j] for j in others]
        sorted_orders = [
            average_precision([labels[others[i]] == labels[query] for i in order])
            for order in permutations(range(len(others)))
            if all(similarities[a] >= similarities[b] for a, b in pairwise(order))
        ]
        precision.append(mean(sorted_orders))
    return mean(precision)


def states(column, bins):
    """0 where inactive, else a bin by the rank among active values, equal ones at their mean."""
    active = sorted(column[np.abs(column) > ACTIVE])
    return [
        1 + math.floor(bins * mean([i for i, a in enumerate(active) if a == value]) / len(active))
        if abs(value) > ACTIVE
        else 0
        for value in column
    ]


def monosemanticity(column, embeddings):
    """Of one dimension, over all pairs."""
    low, high = column.min(), column.max()
    weights = (column - low) / (high - low) if high > low else 0 * column
    vectors = unit(embeddings)
    total = weight = 0.0
    for n in range(len(column)):
        for m in range(len(column)):
            if n != m:
                total += weights[n] * weights[m] * (vectors[n] @ vectors[m])
                weight += weights[n] * weights[m]
    return total / weight if weight else math.nan


def everything(features, labels):
    """What `InterpretabilityMetrics.compute` returns."""
    mean_, median, mean_abs_cosine = orthogonality(features)
    return {
        "semantic_consistency": semantic_consistency(features, labels),
        "adjusted_consistency": adjusted_consistency(features, labels),
        "paired_dims": len(paired_columns(features)),
        "activation_weighted_consistency": activation_weighted_consistency(features, labels),
        "supported_dims": supported_dims(features),
        "class_coverage": class_coverage(features, labels),
        "weighted_consistency": weighted_consistency(features, labels),
        "support_thresholded_consistency": semantic_consistency(features, labels, min_share=0.01),
        **{
            f"semantic_entropy_{weighting}": semantic_entropy(features, labels, weighting)
            for weighting in ("sum", "mean", "frequency")
        },
        "active_dims": active_dims(features),
        "dead_dims": features.shape[1] - active_dims(features),
        "hoyer_sparsity": hoyer_sparsity(features),
        "code_length": code_length(features),
        "activation_sparsity": activation_sparsity(features),
        "non_negative_ratio": non_negative_ratio(features),
        "effective_rank": effective_rank(features),
        "orthogonality_mean": mean_,
        "orthogonality_median": median,
        "orthogonality_mean_abs_cosine": mean_abs_cosine,
    }
