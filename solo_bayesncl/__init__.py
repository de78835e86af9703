"""NCL and BayesNCL for solo-learn: contrastive learning whose single dimensions mean something."""

import logging

__version__ = "0.1.0"
__all__ = ["__version__", "register"]


def register() -> None:
    """Adds `ncl` and `bayesncl` to `solo.methods.METHODS`; calling it again changes nothing.

    Raises:
        InputError: if no solo-learn is installed.
    """
    from solo_bayesncl.hosts import host
    from solo_bayesncl.methods import METHODS

    registry = host().METHODS
    for name, method in METHODS.items():
        if registry.get(name, method) is not method:
            logging.getLogger(__name__).warning(
                "solo-learn already has a method %r; it is replaced by that of solo_bayesncl.", name
            )
        registry[name] = method
