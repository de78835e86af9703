"""What does a run's folder hold, and how is it opened? The one place that loads checkpoints."""

from solo_bayesncl.runs.run import *  # noqa: F403
