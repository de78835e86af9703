"""What may a recipe, a YAML file in solo-learn's layout, contain, and does it fit this machine?

`recipes.compose` is not imported here: it tells the Hydra plugin that a command of ours is running.
"""

from solo_bayesncl.recipes.checks import check_linear, check_pretrain, too_few_images
from solo_bayesncl.recipes.machine import fit_to_machine
from solo_bayesncl.recipes.method_kwargs import check_contrastive
from solo_bayesncl.recipes.validation import validate

__all__ = [
    "check_contrastive",
    "check_linear",
    "check_pretrain",
    "fit_to_machine",
    "too_few_images",
    "validate",
]
