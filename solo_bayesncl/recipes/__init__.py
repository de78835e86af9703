"""What may a recipe, a YAML file in solo-learn's layout, contain? Does it fit this machine?"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "checks": ["check_linear", "check_pretrain", "too_few_images"],
        "machine": ["fit_to_machine"],
        "method_kwargs": ["check_contrastive", "fill_method_kwargs"],
        "validation": ["validate"],
    },
)
