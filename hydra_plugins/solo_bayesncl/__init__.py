"""Makes Hydra find the recipes of `solo_bayesncl`, and solo-learn's own scripts its methods.

Hydra imports this in every Hydra program, so it imports nothing else before it has to act.
"""

import logging
import sys
from typing import Any

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.experimental.callback import Callback
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig


class SoloBayesNCL(SearchPathPlugin):
    """Acts in the commands of `solo_bayesncl` and in programs that have imported solo-learn."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Appends folders of recipes; in solo-learn's programs, registers the methods, too."""
        folders = sys.modules.get("solo_bayesncl.recipes.search_path")
        own_command = folders is not None and folders.composes_for_us()
        if not own_command and "solo.methods" not in sys.modules:
            return
        try:
            import solo_bayesncl
            from solo_bayesncl.adapters import scripts_use_hydra
            from solo_bayesncl.recipes import search_path as folders

            if own_command:
                folders.append_shared(search_path)
            elif scripts_use_hydra():
                solo_bayesncl.register()
                folders.extend(search_path)
            if own_command or folders.runs_script():
                folders.check_files(search_path)
        except Exception as error:  # whatever it is, the program can run without this package
            logging.getLogger(__name__).warning(
                "The methods and recipes of solo_bayesncl are not available: %s", error
            )


class RecipeSource(FileConfigSource):
    """A folder whose files do not configure Hydra: see `solo_bayesncl.recipes.trust`."""

    @staticmethod
    def scheme() -> str:
        return "recipe"

    def load_config(self, config_path: str) -> ConfigResult:
        from solo_bayesncl.recipes.trust import check_file

        result = super().load_config(config_path)
        check_file(result.config, result.header, f"{self.path}/{config_path}")
        return result

    def is_config(self, config_path: str) -> bool:
        from solo_bayesncl.recipes.trust import names_hydra, refuse_hydra_folder

        found = super().is_config(config_path)
        if found and names_hydra(config_path):
            refuse_hydra_folder(self.path, config_path)
        return found


class ResolvePreset(Callback):
    """Named by our recipes: gives the program what `compose_recipe` gives, presets resolved."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        from solo_bayesncl.recipes.search_path import composes_for_us, resolve_preset

        if not composes_for_us():  # our commands do so themselves: Hydra warns of what this raises
            resolve_preset(config)
