"""Adds our methods to solo-learn's registry."""

import logging

from solo_bayesncl.adapters import adapter


def register() -> None:
    from solo_bayesncl.methods import METHODS

    registry = adapter().METHODS
    for name, method in METHODS.items():
        if registry.get(name, method) is not method:
            logging.getLogger(__name__).warning(
                "solo-learn already has a method %r; it is replaced by that of solo_bayesncl.", name
            )
        registry[name] = method
