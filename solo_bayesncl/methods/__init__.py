"""NCL and BayesNCL as solo-learn methods; importing this imports solo-learn."""

from solo_bayesncl.methods.bayesncl import BayesNCL
from solo_bayesncl.methods.contrastive import OnCodes, OnGatedCodes, variants
from solo_bayesncl.methods.ncl import NCL

METHODS = {
    "ncl": NCL,
    "bayesncl": BayesNCL,
    **variants("ncl", OnCodes),
    **variants("bayesncl", OnGatedCodes),
}

__all__ = ["METHODS", "BayesNCL", "NCL"]
