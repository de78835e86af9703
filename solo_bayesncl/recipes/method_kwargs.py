"""The keys of `method_kwargs`: default, accepted values and meaning, each in this one place."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from solo_bayesncl.errors import InputError
from solo_bayesncl.nn import GATE_TYPES, NON_NEGATIVE

REQUIRED = object()


@dataclass(frozen=True)
class Setting:
    """One key.

    Attributes:
        default: taken where the configuration does not give the key; `REQUIRED` if it must.
        accepts: the accepted values in words, for messages and documentation.
        valid: whether a value is accepted.
        meaning: one sentence.
    """

    default: Any
    accepts: str
    valid: Callable[[Any], bool]
    meaning: str


def is_number(value: Any, kinds: type | tuple[type, ...] = (int, float)) -> bool:
    """Whether `value` is a number of one of the kinds; True and False are none."""
    return isinstance(value, kinds) and not isinstance(value, bool)


def _is_count(value: Any, least: int = 1) -> bool:
    return is_number(value, int) and value >= least


def _names(default: str, names: tuple[str, ...], meaning: str) -> Setting:
    return Setting(default, "one of " + ", ".join(names), lambda value: value in names, meaning)


def _flag(default: bool, meaning: str) -> Setting:
    return Setting(default, "True or False", lambda value: isinstance(value, bool), meaning)


def _above_zero(default: Any, meaning: str) -> Setting:
    return Setting(
        default, "a number above 0", lambda value: is_number(value) and value > 0, meaning
    )


def _width(meaning: str) -> Setting:
    return Setting(REQUIRED, "an integer of at least 1", _is_count, meaning)


NCL = {
    "proj_hidden_dim": _width("width of the hidden layers of projector and gating head"),
    "proj_output_dim": _width("number of dimensions of the codes"),
    "temperature": _above_zero(REQUIRED, "temperature of InfoNCE"),
    "non_neg": Setting(
        "rep_relu",
        "null or one of " + ", ".join(NON_NEGATIVE),
        lambda value: value is None or value in NON_NEGATIVE,
        "non-negative head on the projector's output",
    ),
    "use_topk": _flag(False, "keep only the largest entries of each projection (NCL+TopK)"),
    "topk_k": Setting(
        0,
        "an integer from 0 to proj_output_dim",
        lambda value: _is_count(value, least=0),
        "how many entries TopK keeps",
    ),
}

BAYESNCL = {
    **NCL,
    "use_bayes": Setting(
        True,
        "True (for no gate, choose method: ncl)",
        lambda value: value is True,
        "official switch of the gate; the method's name decides here",
    ),
    "bayesian_prior_prob": Setting(
        0.8,
        "a probability from 0 to 1",
        lambda value: is_number(value) and 0 <= value <= 1,
        "open-probability of the prior (rho)",
    ),
    "bayesian_kl_lambda": Setting(
        3e-5,
        "a number of at least 0",
        lambda value: is_number(value) and value >= 0,
        "weight of the KL term (lambda)",
    ),
    "gate_type": _names("STE", GATE_TYPES, "estimator of the gate"),
    "gate_threshold": Setting(
        0.5,
        "a number from 0 to below 1",
        lambda value: is_number(value) and 0 <= value < 1,
        "open-probability above which a hard gate opens",
    ),
    "sigmoid_temperature": _above_zero(1.0, "temperature that divides the gate's logits"),
    "gating_head_depth": Setting(
        2,
        "1, 2 or 3",
        lambda value: _is_count(value) and value <= 3,
        "number of linear layers of the gating head",
    ),
    "detach_gate_input": _flag(True, "keep the gate's gradients out of the backbone (isolation)"),
    "gate_init": _names(
        "official",
        ("official", "prior"),
        "start of the gating head: default initialisation, or last bias at logit(rho)",
    ),
}


_PREDICTOR = {"pred_hidden_dim": _width("width of the hidden layer of the predictor")}
_QUEUE = {
    "queue_size": Setting(
        65536,
        "a multiple of optimizer.batch_size x processes",
        _is_count,
        "number of codes of earlier batches that are kept",
    ),
}

# other contrastive methods of solo-learn: what they have beside NCL's and BayesNCL's
CONTRASTIVE = {
    "mocov2plus": _QUEUE,
    "mocov3": _PREDICTOR,
    "supcon": {},
    "nnclr": {**_PREDICTOR, **_QUEUE},
}

METHODS = {"ncl": NCL, "bayesncl": BAYESNCL} | {
    f"{codes}_{name}": {**settings, **own}
    for codes, settings in (("ncl", NCL), ("bayesncl", BAYESNCL))
    for name, own in CONTRASTIVE.items()
}


def fill(cfg: DictConfig) -> DictConfig:
    """Adds the defaults of the method `cfg.method` to `cfg.method_kwargs` and checks every value.

    Raises:
        InputError: for an unknown key, a missing or unaccepted value, naming the key.
    """
    settings, kwargs = METHODS[cfg.method], cfg.method_kwargs
    for name in kwargs:
        if name not in settings:
            near = difflib.get_close_matches(str(name), settings, n=1)
            hint = f"Did you mean method_kwargs.{near[0]}?" if near else "Remove it."
            raise InputError(
                f"method_kwargs.{name} is not a setting of method: {cfg.method}. {hint} "
                f"Its settings are: {', '.join(settings)}."
            )
    for name, setting in settings.items():
        value = kwargs.get(name, setting.default)
        if value is REQUIRED:
            raise InputError(f"method_kwargs.{name} is missing: give {setting.accepts}.")
        if not setting.valid(value):
            raise InputError(f"method_kwargs.{name}={value!r}: give {setting.accepts}.")
        kwargs[name] = value
    if kwargs.use_topk and not 1 <= kwargs.topk_k <= kwargs.proj_output_dim:
        raise InputError(
            f"method_kwargs.topk_k={kwargs.topk_k}: with use_topk=True give an integer from 1 to "
            f"proj_output_dim={kwargs.proj_output_dim}."
        )
    if "gate_type" in settings:
        _check_gate(cfg)
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
    queue = CONTRASTIVE[name].get("queue_size")
    queue_size = queue and cfg.method_kwargs.get("queue_size", queue.default)
    all_rows = cfg.optimizer.batch_size * len(cfg.get("devices", [0])) * cfg.get("num_nodes", 1)
    if queue and queue_size % all_rows:
        raise InputError(
            f"method_kwargs.queue_size={queue_size} is no multiple of {all_rows}, the batch of all "
            "processes: change it or optimizer.batch_size."
        )
    views = (cfg.data.num_large_crops, cfg.data.get("num_small_crops", 0))
    if name != "supcon" and views != (2, 0):
        raise InputError(
            f"method={cfg.method} compares two views of one size, but augmentations give "
            f"{views[0]} large and {views[1]} small ones: set their num_crops and crop_size so."
        )
    if name == "supcon" and cfg.data.get("no_labels", False):
        raise InputError(
            f"method={cfg.method} takes the images of one class as positives, but "
            "data.no_labels=True: give labelled images, or choose another method."
        )


def _check_gate(cfg: DictConfig) -> None:
    kwargs = cfg.method_kwargs
    starts_closed = kwargs.bayesian_prior_prob <= kwargs.gate_threshold
    if kwargs.gate_init == "prior" and kwargs.gate_type != "soft" and starts_closed:
        raise InputError(
            f"method_kwargs.gate_init=prior with bayesian_prior_prob={kwargs.bayesian_prior_prob} "
            f"<= gate_threshold={kwargs.gate_threshold} starts with every gate closed, and closed "
            "codes do not learn. Choose gate_init=official, or a prior above the threshold."
        )
    lr = cfg.optimizer.get("gating_head_lr")
    if lr is not None and not (is_number(lr) and lr >= 0):
        raise InputError(f"optimizer.gating_head_lr={lr!r}: give a number of at least 0, or null.")
    cfg.optimizer.gating_head_lr = lr
