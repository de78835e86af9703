"""How do methods compare over seeds? Plans the runs, carries them out, summarises them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "plan": ["Job", "Plan"],
        "results": ["summarise", "write_results"],
        "statistics": ["compare", "interval"],
    },
)
