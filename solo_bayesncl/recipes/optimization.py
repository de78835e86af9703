"""The sections `optimizer` and `scheduler`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes.validation import Section, accepts
from solo_bayesncl.recipes.values import Amount, Count, Positive, WholeNumber

Decay = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[
    list[Decay], Field(min_length=2, max_length=2), accepts("two numbers from 0 to below 1")
]

_SGD = ("momentum", "dampening", "nesterov")
_ADAM = ("betas", "eps", "amsgrad")
_OF_TORCH = ("foreach", "maximize", "capturable", "differentiable", "fused")
# which `optimizer.kwargs` an optimiser takes
OPTIMIZERS = {
    "sgd": (*_SGD, *_OF_TORCH),
    "lars": (*_SGD, "eps", "clip_lr", "eta", "exclude_bias_n_norm"),
    "adam": (*_ADAM, *_OF_TORCH),
    "adamw": (*_ADAM, *_OF_TORCH),
}


class OptimizerKwargs(Section):
    momentum: Decay | None = None
    dampening: Amount | None = None
    nesterov: bool | None = None
    betas: Betas | None = None
    eps: Amount | None = None
    amsgrad: bool | None = None
    clip_lr: bool | None = None
    eta: Positive | None = None
    exclude_bias_n_norm: bool | None = None
    foreach: bool | None = None
    maximize: bool | None = None
    capturable: bool | None = None
    differentiable: bool | None = None
    fused: bool | None = None


class Optimizer(Section):
    name: Literal[tuple(OPTIMIZERS)]
    batch_size: Count
    lr: Amount
    weight_decay: Amount
    exclude_bias_n_norm_wd: bool | None = None
    kwargs: OptimizerKwargs | None = None

    @model_validator(mode="after")
    def _check_kwargs(self):
        given = self.kwargs.model_fields_set if self.kwargs else ()
        if foreign := [key for key in given if key not in OPTIMIZERS[self.name]]:
            owners = [name for name, keys in OPTIMIZERS.items() if set(foreign) <= set(keys)]
            raise InputError(
                f"optimizer.kwargs: {', '.join(foreign)} belong to optimizer.name="
                f"{' or '.join(owners) or 'another one'}. With optimizer.name={self.name} leave "
                "them out: type ~optimizer.kwargs."
            )
        if self.kwargs and self.kwargs.foreach and self.kwargs.fused:
            raise InputError("optimizer.kwargs: foreach and fused cannot both be True.")
        if self.kwargs and self.kwargs.nesterov:
            without_momentum = self.name == "sgd" and self.kwargs.momentum == 0
            if without_momentum or self.kwargs.dampening:
                raise InputError(
                    "optimizer.kwargs.nesterov=True needs a momentum above 0 and dampening=0."
                )
        return self


class GatingHeadOptimizer(Section):
    gating_head_lr: Amount | None = None


class PretrainOptimizer(GatingHeadOptimizer, Optimizer):
    classifier_lr: Amount


class LinearOptimizer(Optimizer):
    layer_decay: Amount | None = None


class Scheduler(Section):
    name: Literal["warmup_cosine", "step", "none"]
    warmup_epochs: Amount | None = None
    warmup_start_lr: Amount | None = None
    min_lr: Amount | None = None
    lr_decay_steps: (
        Annotated[list[WholeNumber], accepts("a list of epochs, e.g. [60,80]")] | None
    ) = None
    interval: Literal["step", "epoch"] | None = None

    @model_validator(mode="after")
    def _check_steps(self):
        if self.name == "step" and not self.lr_decay_steps:
            raise InputError("scheduler.name=step needs scheduler.lr_decay_steps, e.g. [60,80].")
        return self


class LinearScheduler(Scheduler):
    name: Literal["warmup_cosine", "step", "exponential", "none"]
