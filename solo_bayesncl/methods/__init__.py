"""NCL and BayesNCL as solo-learn methods; importing this imports solo-learn."""

from solo_bayesncl.methods.bayesncl import BayesNCL
from solo_bayesncl.methods.contrastive import CodeLossMixin, GatedCodeLossMixin, variants
from solo_bayesncl.methods.ncl import NCL
from solo_bayesncl.methods.registry import register

METHODS = {
    "ncl": NCL,
    "bayesncl": BayesNCL,
    **variants("ncl", CodeLossMixin),
    **variants("bayesncl", GatedCodeLossMixin),
}

__all__ = ["METHODS", "BayesNCL", "NCL", "register"]
