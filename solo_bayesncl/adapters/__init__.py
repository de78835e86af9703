"""Which solo-learn is installed, and how is it called? No other folder depends on it."""

from solo_bayesncl.adapters.installed import MISSING, adapter, find, scripts_use_hydra
from solo_bayesncl.adapters.protocol import Adapter

__all__ = ["MISSING", "Adapter", "adapter", "find", "scripts_use_hydra"]
