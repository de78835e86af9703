"""Linear evaluation from a YAML recipe: --config-path DIR --config-name NAME [key=value ...]."""

from omegaconf import DictConfig

from solo_bayesncl.console import log
from solo_bayesncl.recipes.compose import run_with_hydra


def run(arguments: list[str]) -> int:
    """Runs the command; `arguments` are Hydra's."""
    run_with_hydra("linear", arguments, _train)
    return 0


def _train(cfg: DictConfig) -> None:
    from solo_bayesncl.training.linear import train_linear  # seconds, not needed for --help

    folder = train_linear(cfg)
    log(f"the run is in {folder}; val_acc1 and val_acc5 are in its metrics.csv")
