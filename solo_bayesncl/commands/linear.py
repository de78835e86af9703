"""Linear evaluation from a YAML recipe: --config-path DIR --config-name NAME [key=value ...]."""

from omegaconf import DictConfig

from solo_bayesncl.console import log
from solo_bayesncl.recipes.compose import run_with_hydra


def run(arguments: list[str]) -> int:
    """Runs the command; `arguments` are Hydra's."""
    run_with_hydra("linear", arguments, _train)
    return 0


def _train(cfg: DictConfig) -> None:
    from solo_bayesncl import runs
    from solo_bayesncl.recipes import check_linear

    # reports a wrong recipe or path before solo-learn is imported
    check_linear(cfg.copy())
    runs.checkpoint_at(cfg.pretrained_feature_extractor, "pretrained_feature_extractor")

    from solo_bayesncl.training.linear import train_linear

    folder = train_linear(cfg)
    log(f"the run is in {folder}; val_acc1 and val_acc5 are in its metrics.csv")
