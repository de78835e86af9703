"""The methods of this package by name, and their place in solo-learn's registry."""

import logging

from solo_bayesncl.adapters import adapter
from solo_bayesncl.methods.bayesncl import BayesNCL
from solo_bayesncl.methods.contrastive import CodeLossMixin, GatedCodeLossMixin, variants
from solo_bayesncl.methods.ncl import NCL

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
