"""Which solo-learn is installed, and how do we talk to it? Nothing else asks."""

from solo_bayesncl.adapters.installed import MISSING, adapter, find, scripts_use_hydra

__all__ = ["MISSING", "adapter", "find", "scripts_use_hydra"]
