"""The interpretability metrics as their definitions read: NumPy, float64, loops."""

import math

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


def retrieval_precision(features, labels, dims, ks):
    def unit(rows):
        return np.array([row / max(np.linalg.norm(row), 1e-12) for row in rows])

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


def everything(features, labels):
    """What `InterpretabilityMetrics.compute` returns."""
    mean_, median, mean_abs_cosine = orthogonality(features)
    return {
        "semantic_consistency": semantic_consistency(features, labels),
        "weighted_consistency": weighted_consistency(features, labels),
        "support_thresholded_consistency": semantic_consistency(features, labels, min_share=0.01),
        **{
            f"semantic_entropy_{weighting}": semantic_entropy(features, labels, weighting)
            for weighting in ("sum", "mean", "frequency")
        },
        "active_dims": active_dims(features),
        "code_length": code_length(features),
        "activation_sparsity": activation_sparsity(features),
        "non_negative_ratio": non_negative_ratio(features),
        "effective_rank": effective_rank(features),
        "orthogonality_mean": mean_,
        "orthogonality_median": median,
        "orthogonality_mean_abs_cosine": mean_abs_cosine,
    }
