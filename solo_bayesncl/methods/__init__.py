"""Which methods does this package add to solo-learn? NCL, BayesNCL and both in other methods.

Importing it imports solo-learn and changes nothing there: `register` adds the methods.
"""

import logging

from solo_bayesncl.adapters import adapter
from solo_bayesncl.methods.bayesncl import BayesNCL
from solo_bayesncl.methods.contrastive import CodeLossMixin, GatedCodeLossMixin, variants
from solo_bayesncl.methods.ncl import NCL

__all__ = ["METHODS", "BayesNCL", "NCL", "register"]

METHODS: dict[str, type] = {
    "ncl": NCL,
    "bayesncl": BayesNCL,
    **variants("ncl", CodeLossMixin),
    **variants("bayesncl", GatedCodeLossMixin),
}


def register() -> None:
    """Adds `METHODS` to `solo.methods.METHODS`; calling it again changes nothing."""
    registry = adapter().METHODS
    for name, method in METHODS.items():
        if registry.get(name, method) is not method:
            logging.getLogger(__name__).warning(
                "The method %r of solo-learn is overwritten by that of solo_bayesncl.", name
            )
        registry[name] = method
