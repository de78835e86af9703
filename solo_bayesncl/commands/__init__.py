"""One module for each command of `solo-bayesncl`."""
