"""Which methods does this package add to solo-learn? NCL, BayesNCL and both in other methods.

Importing it imports solo-learn and changes nothing there: `register` adds the methods.
"""

from solo_bayesncl.methods.bayesncl import BayesNCL
from solo_bayesncl.methods.ncl import NCL
from solo_bayesncl.methods.registry import METHODS, register

__all__ = ["METHODS", "BayesNCL", "NCL", "register"]
