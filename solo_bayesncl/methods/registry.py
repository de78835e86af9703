"""The methods of this package by name, and their place in solo-learn's registries."""

import logging
from typing import Any

from solo_bayesncl.adapters import adapter
from solo_bayesncl.adapters.backbones import BACKBONES
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
    """Adds our methods and backbones to solo-learn's; calling it again changes nothing."""
    _add("method", METHODS, adapter().METHODS)
    _add("backbone", BACKBONES, adapter().BACKBONES)


def _add(kind: str, ours: dict[str, Any], registry: dict[str, Any]) -> None:
    for name, entry in ours.items():
        if registry.get(name, entry) is not entry:
            logging.getLogger(__name__).warning(
                "The %s %r of solo-learn is overwritten by that of solo_bayesncl.", kind, name
            )
        registry[name] = entry
