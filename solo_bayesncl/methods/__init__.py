"""Which methods does this package add to solo-learn? NCL, BayesNCL and both in other methods.

The first name taken from here imports solo-learn and changes nothing there: `register` adds the
methods.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "bayesncl": ["BayesNCL"],
        "ncl": ["NCL"],
        "registry": ["METHODS", "register"],
    },
)
