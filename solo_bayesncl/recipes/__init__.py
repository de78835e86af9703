"""What may a recipe, a YAML file in solo-learn's layout, contain? Does it fit this machine?"""

from solo_bayesncl.recipes.checks import check_linear, check_pretrain, too_few_images
from solo_bayesncl.recipes.machine import fit_to_machine
from solo_bayesncl.recipes.method_kwargs import check_contrastive, fill_method_kwargs
from solo_bayesncl.recipes.validation import validate

__all__ = [
    "check_contrastive",
    "check_linear",
    "check_pretrain",
    "fill_method_kwargs",
    "fit_to_machine",
    "too_few_images",
    "validate",
]
