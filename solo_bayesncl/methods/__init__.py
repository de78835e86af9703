"""NCL and BayesNCL as solo-learn methods; importing this imports solo-learn."""

from solo_bayesncl.methods.bayesncl import BayesNCL
from solo_bayesncl.methods.ncl import NCL

METHODS = {"ncl": NCL, "bayesncl": BayesNCL}

__all__ = ["METHODS", "BayesNCL", "NCL"]
