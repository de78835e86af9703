"""What may a recipe, a YAML file in solo-learn's layout, say, and does it fit this machine?

`recipes.compose` is not imported here: it tells the Hydra plugin that a command of ours is running.
"""

from solo_bayesncl.recipes.checks import (
    check_linear,
    check_pretrain,
    data_errors_as_input_errors,
    too_few_images,
)
from solo_bayesncl.recipes.image_sizes import require_image_sizes
from solo_bayesncl.recipes.machine import fit_to_machine, number_of_processes
from solo_bayesncl.recipes.method_kwargs import (
    CONTRASTIVE,
    METHODS,
    check_contrastive,
    fill_method_kwargs,
)
from solo_bayesncl.recipes.schema import DATASETS, DOWNLOADED, MAX_SEED
from solo_bayesncl.recipes.validation import validate

__all__ = [
    "CONTRASTIVE",
    "DATASETS",
    "DOWNLOADED",
    "MAX_SEED",
    "METHODS",
    "check_contrastive",
    "check_linear",
    "check_pretrain",
    "data_errors_as_input_errors",
    "fill_method_kwargs",
    "fit_to_machine",
    "number_of_processes",
    "require_image_sizes",
    "too_few_images",
    "validate",
]
