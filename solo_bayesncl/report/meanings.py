"""What each number means, in a sentence or two; docs/metrics.md has the formulas.

No imports of metrics: the page shows these texts on hover and focus, and in a list.
"""

from solo_bayesncl.evaluation.lengths import AS_TRAINED

# by the name of the metric, which means the same in every space and at every length
MEANINGS = {
    "semantic_consistency": "Share of a dimension's most frequent class among the images that "
    "activate it, mean over live dimensions. A dimension with a single image scores 100 %, so "
    "compare it with the value of shuffled labels.",
    "shuffled_label_null": "The semantic consistency of the same codes with labels permuted at "
    "random: what they would score without any meaning.",
    "adjusted_consistency": "Probability that two images which activate a dimension share a class, "
    "rescaled so that 0 % is chance and 100 % is always, mean over dimensions. Chance is 0 for "
    "dimensions of few images, too.",
    "paired_dims": "Number of dimensions that two images or more activate: those that the "
    "chance-adjusted consistency averages over.",
    "weighted_consistency": "Share of all activations that belong to their dimension's most "
    "frequent class. Dimensions of few images count little.",
    "activation_weighted_consistency": "The consistency weighted by active samples, with strong "
    "activations counting more than weak ones.",
    "support_thresholded_consistency": "Semantic consistency of the dimensions that at least 1 % "
    "of the images activate.",
    "supported_dims": "Number of dimensions that at least 1 % of the images activate.",
    "semantic_entropy_sum": "Entropy of a dimension's activation over classes, mean over "
    "dimensions; 0 means a single class.",
    "semantic_entropy_mean": "As the semantic entropy (sum), with activation averaged over the "
    "images of a class, so that large classes do not dominate.",
    "semantic_entropy_frequency": "As the semantic entropy (sum), with the number of active images "
    "in place of their activation.",
    "class_coverage": "Number of classes that have more than half of the images of some dimension.",
    "mean_average_precision": "Every image is a query for images of its class, ranked by cosine "
    "similarity; average precision of the ranking, mean over queries.",
    "retrieval_precision_at_1": "Share of images whose nearest other image is of the same class.",
    "retrieval_precision_at_3": "Share of images of the same class among the 3 nearest.",
    "retrieval_precision_at_5": "Share of images of the same class among the 5 nearest.",
    "retrieval_precision_at_10": "Share of images of the same class among the 10 nearest.",
    "monosemanticity": "How alike the images are that activate a dimension: mean cosine similarity "
    "of their embeddings by a reference model, weighted by activation. Needs no labels. The "
    "reference is the run's own backbone unless another one is named.",
    "monosemanticity_chance": "Mean cosine similarity of all pairs of images: the monosemanticity "
    "of a dimension that all images activate alike.",
    "active_dims": "Number of dimensions that at least one image activates.",
    "dead_dims": "Number of dimensions that no image activates.",
    "code_length": "Number of active dimensions of an image, mean over images. Shorter codes score "
    "higher on consistency by themselves, so compare methods at equal length, too.",
    "activation_sparsity": "Share of entries that are inactive.",
    "hoyer_sparsity": "Sparsity without a threshold: 0 if all entries of an image are equal, 1 if "
    "only one is not zero.",
    "non_negative_ratio": "Share of entries that are not negative; 100 % after a non-negative "
    "head.",
    "effective_rank": "Entropy of the singular values; its exponential is a number of dimensions.",
    "orthogonality_mean": "Official mean of the cosines between dimensions. It falls with the "
    "square of the number of live dimensions, so it cannot be compared between codes.",
    "orthogonality_median": "As the official mean, with the median.",
    "orthogonality_mean_abs_cosine": "Mean |cosine| between two live dimensions; 0 if no two are "
    "active together.",
    "mean_open_probability": "Mean of the posterior probability that a gate is open. The KL term "
    "pulls it towards the prior.",
    "open_rate": "Share of gates that are open, over images and dimensions.",
    "online_classifier": "Accuracy of the linear layer that solo-learn trains on the backbone "
    "during pretraining.",
    "knn_backbone": "Accuracy of solo-learn's k-nearest-neighbour classifier (k = 20) on the "
    "features of the backbone.",
    "knn_codes": "Accuracy of solo-learn's k-nearest-neighbour classifier (k = 20) on the codes.",
    "probe_codes": "Accuracy of a logistic regression on the codes.",
    "linear_backbone": "Accuracy of solo-learn's linear probe on the frozen backbone: the usual "
    "benchmark number.",
    "linear_backbone_top5": "The linear probe's accuracy, with a hit among the 5 most probable "
    "classes.",
    "threshold": "Entries up to this value are set to 0 by the cut.",
    "empty": "Share of images whose code is zero. They count as wrong, or right by chance, in kNN "
    "and probe only.",
    "knn": "Accuracy of a k-nearest-neighbour classifier (k = 20) on the codes: what they still "
    "tell at this length.",
    "probe": "Accuracy of a logistic regression on the codes: what they still tell at this length.",
    "level": "The highest kNN accuracy of the codes that all methods reach at some length.",
    "mutual_information_mean": "Mutual information of a dimension's activation with a known factor "
    "of the images, mean over live dimensions.",
    "mutual_information_max": "The largest mutual information of any dimension with the factor.",
}

_PLACES = {
    "backbone": "Here of the backbone's features.",
    "projections": "Here of the projections, before the gate.",
    "gate": "Here of the gate, where an open gate counts as active.",
    "equal_knn": "Here at the highest kNN accuracy that all methods reach.",
    "factors": "Here with the levels of a known factor in place of classes.",
}


def name_of(key: str) -> str:
    """The metric's name: the last part of its key in `evaluation.json`."""
    return key.rsplit(".", 1)[-1]


def meaning_of(key: str) -> str:
    """What a metric means; empty for one that this version does not know.

    Args:
        key: in `evaluation.json`, such as `code_lengths.3.knn`.
    """
    name, (place, *rest) = name_of(key), key.split(".")
    if name not in MEANINGS:
        return ""
    where = _PLACES.get(place, "") if name != "level" and place != name else ""
    if place == "gate" and name in ("mean_open_probability", "open_rate"):
        where = ""
    if place == "code_lengths" and rest[0] != AS_TRAINED:
        where = f"Here of codes that are cut to {rest[0]} active dimensions per image on average."
    return f"{MEANINGS[name]} {where}".rstrip()
