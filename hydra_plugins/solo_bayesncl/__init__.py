"""Makes solo-learn's own scripts find the methods and recipes of `solo_bayesncl`.

Hydra imports this in every Hydra program, so it imports nothing else before it has to act.
"""

import logging
import sys

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class SoloBayesNCL(SearchPathPlugin):
    """Acts in programs that have imported solo-learn, but for the commands of `solo_bayesncl`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Registers the methods and appends the recipes, see `recipes.search_path`."""
        if "solo.methods" not in sys.modules or "solo_bayesncl.recipes.compose" in sys.modules:
            return
        try:
            from solo_bayesncl.recipes.search_path import extend

            extend(search_path)
        except Exception as error:  # whatever it is, the program can run without us
            logging.getLogger(__name__).warning(
                "The methods and recipes of solo_bayesncl are not available: %s", error
            )
