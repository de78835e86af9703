"""How is a recipe trained? Pretraining and linear probes with Lightning, on any number of ranks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "linear": ["train_linear"],
        "pretraining": ["build", "prepare", "pretrain"],
        "trainer": ["fit"],
    },
)
