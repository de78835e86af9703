"""Pretrains a method from a YAML recipe: --config-path DIR --config-name NAME [key=value ...]."""

from omegaconf import DictConfig

from solo_bayesncl.console import log
from solo_bayesncl.recipes.compose import run_with_hydra


def run(arguments: list[str]) -> int:
    """Runs the command; `arguments` are Hydra's."""
    run_with_hydra("pretrain", arguments, _pretrain)
    return 0


def _pretrain(cfg: DictConfig) -> None:
    from solo_bayesncl.recipes import check_pretrain

    check_pretrain(cfg.copy())  # reports a wrong recipe before solo-learn is imported

    from solo_bayesncl.training.pretraining import pretrain

    folder = pretrain(cfg)
    log(f"the run is in {folder}; evaluate it with: solo-bayesncl evaluate {folder}")
