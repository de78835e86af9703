"""The keys of `method_kwargs`: default, accepted values and meaning, each in this one place."""

from typing import Annotated, Literal

from omegaconf import DictConfig
from pydantic import ConfigDict, Field, model_validator

from solo_bayesncl.errors import InputError
from solo_bayesncl.nn import GATE_TYPES, MIN_NORM, NON_NEGATIVE
from solo_bayesncl.recipes.machine import number_of_processes
from solo_bayesncl.recipes.optimization import GatingHeadOptimizer
from solo_bayesncl.recipes.validation import Section, accepts, validate
from solo_bayesncl.recipes.values import Amount, Count, Positive, UnitInterval

Switch = Annotated[Literal[True], accepts("True (for no gate, choose method: ncl)")]
Entries = Annotated[int, Field(ge=0), accepts("an integer from 0 to proj_output_dim")]
QueueSize = Annotated[Count, accepts("a multiple of optimizer.batch_size x processes")]


class NCLKwargs(Section):
    model_config = ConfigDict(title="method: ncl")

    proj_hidden_dim: Count
    """Width of the hidden layers of projector and gating head."""
    proj_output_dim: Count
    """Number of dimensions of the codes."""
    temperature: Positive
    """Temperature of InfoNCE."""
    non_neg: Literal[tuple(NON_NEGATIVE)] | None = "rep_relu"
    """Non-negative head on the projector's output."""
    use_topk: bool = False
    """Keep only the largest entries of each projection (NCL+TopK)."""
    topk_k: Entries = 0
    """How many entries TopK keeps."""
    min_norm: Amount = MIN_NORM
    """Norm below which a row receives no gradient. At 0 every row does, as in the official code."""
    balance_weight: Amount = 0.0
    """Weight of a penalty on dimensions that share the activation unequally."""

    @model_validator(mode="after")
    def _check_topk(self):
        if self.use_topk and not 1 <= self.topk_k <= self.proj_output_dim:
            raise InputError(
                f"method_kwargs.topk_k={self.topk_k}: with use_topk=True give an integer from 1 to "
                f"proj_output_dim={self.proj_output_dim}."
            )
        return self


class BayesNCLKwargs(NCLKwargs):
    model_config = ConfigDict(title="method: bayesncl")

    use_bayes: Switch = True
    """Official switch of the gate; the method's name decides here."""
    bayesian_prior_prob: UnitInterval = 0.8
    """Open-probability of the prior (rho)."""
    bayesian_kl_lambda: Amount = 3e-5
    """Weight of the KL term (lambda)."""
    gate_type: Literal[GATE_TYPES] = "STE"
    """Estimator of the gate."""
    gate_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Open-probability above which a hard gate opens."""
    sigmoid_temperature: Positive = 1.0
    """Temperature that divides the gate's logits."""
    gating_head_depth: Annotated[int, Field(ge=1, le=3)] = 2
    """Number of linear layers of the gating head."""
    detach_gate_input: bool = True
    """Keep the gate's gradients out of the backbone (isolation)."""
    gate_init: Literal["official", "prior"] = "official"
    """Start of the gating head: default initialisation, or last bias at logit(rho)."""

    @model_validator(mode="after")
    def _check_start(self):
        starts_closed = self.bayesian_prior_prob <= self.gate_threshold
        if self.gate_init == "prior" and self.gate_type != "soft" and starts_closed:
            raise InputError(
                "method_kwargs.gate_init=prior with bayesian_prior_prob="
                f"{self.bayesian_prior_prob} <= gate_threshold={self.gate_threshold} starts with "
                "every gate closed, and closed codes do not learn. Choose gate_init=official, or a "
                "prior above the threshold."
            )
        return self


class MoCoV2PlusKwargs(Section):
    queue_size: QueueSize = 65536
    """Number of codes of earlier batches that are kept."""


class MoCoV3Kwargs(Section):
    pred_hidden_dim: Count
    """Width of the hidden layer of the predictor."""


class SupConKwargs(Section):
    pass


class NNCLRKwargs(MoCoV2PlusKwargs, MoCoV3Kwargs):
    pass


# other contrastive methods of solo-learn: what they add to the keys of NCL and BayesNCL
CONTRASTIVE: dict[str, type[Section]] = {
    "mocov2plus": MoCoV2PlusKwargs,
    "mocov3": MoCoV3Kwargs,
    "supcon": SupConKwargs,
    "nnclr": NNCLRKwargs,
}


def _variant(base: type[NCLKwargs], name: str) -> type[NCLKwargs]:
    class Variant(CONTRASTIVE[name], base):
        model_config = ConfigDict(title=f"{base.model_config['title']}_{name}")

    return Variant


METHODS: dict[str, type[NCLKwargs]] = {"ncl": NCLKwargs, "bayesncl": BayesNCLKwargs}
METHODS |= {
    f"{prefix}_{name}": _variant(base, name)
    for prefix, base in METHODS.items()
    for name in CONTRASTIVE
}


def fill_method_kwargs(cfg: DictConfig) -> DictConfig:
    """Checks `method_kwargs` and adds the defaults of the method `cfg.method` to it.

    Raises:
        InputError: for an unknown key, a missing or unaccepted value, naming the key.
    """
    model = METHODS[cfg.method]
    for key, value in validate(model, cfg.method_kwargs, "method_kwargs"):
        if key not in cfg.method_kwargs:  # a given one keeps its type: 1 is not 1.0 in a record
            cfg.method_kwargs[key] = value
    if issubclass(model, BayesNCLKwargs):
        lr = cfg.optimizer.get("gating_head_lr")
        validate(GatingHeadOptimizer, {"gating_head_lr": lr}, "optimizer")
        cfg.optimizer.gating_head_lr = lr
    return cfg


def check_contrastive(cfg: DictConfig) -> None:
    """Refuses what the losses of solo-learn's other contrastive methods cannot take.

    Args:
        cfg: of one of `CONTRASTIVE`, on codes or not, fitted to the machine, its crops counted; of
            another method, nothing is refused.

    Raises:
        InputError: names the key.
    """
    name = cfg.method.rpartition("_")[2]
    if name not in CONTRASTIVE:
        return
    queue = CONTRASTIVE[name].model_fields.get("queue_size")
    queue_size = queue and cfg.method_kwargs.get("queue_size", queue.default)
    all_rows = cfg.optimizer.batch_size * number_of_processes(cfg)
    if queue and queue_size % all_rows:
        raise InputError(
            f"method_kwargs.queue_size={queue_size} is not a multiple of {all_rows}, the batch of "
            "all processes: change it or optimizer.batch_size."
        )
    large, small = cfg.data.num_large_crops, cfg.data.get("num_small_crops", 0)
    if name != "supcon" and (large, small) != (2, 0):
        raise InputError(
            f"method={cfg.method} compares two views of one size, but augmentations give "
            f"{large} large and {small} small ones: set their num_crops and crop_size so."
        )
    if name == "supcon" and cfg.data.get("no_labels", False):
        raise InputError(
            f"method={cfg.method} takes the images of one class as positives, but "
            "data.no_labels=True: give labelled images, or choose another method."
        )
