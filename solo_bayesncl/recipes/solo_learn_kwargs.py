"""The keys of `method_kwargs` of solo-learn's own methods, which check little of it themselves."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from solo_bayesncl.recipes.method_kwargs import METHODS
from solo_bayesncl.recipes.own_keys import validate_with_own_keys
from solo_bayesncl.recipes.validation import Section, accepts
from solo_bayesncl.recipes.values import Amount, Count, Positive, UnitInterval, WholeNumber

Prototypes = Annotated[Count | list[Count], accepts("an integer of at least 1, or a list of them")]


class SoloLearnKwargs(Section):
    """Of all methods together: a comparison gives several methods one recipe."""

    proj_hidden_dim: Count | None = None
    proj_output_dim: Count | None = None
    pred_hidden_dim: Count | None = None
    temperature: Positive | None = None
    queue_size: Count | None = None
    # barlow_twins
    lamb: Amount | None = None
    scale_loss: Amount | None = None
    # vicreg, vibcreg
    sim_loss_weight: Amount | None = None
    var_loss_weight: Amount | None = None
    cov_loss_weight: Amount | None = None
    iternorm: bool | None = None
    # wmse
    whitening_iters: Count | None = None
    whitening_size: Count | None = None
    whitening_eps: Amount | None = None
    # swav, deepclusterv2, dino
    num_prototypes: Prototypes | None = None
    sk_iters: Count | None = None
    sk_epsilon: Positive | None = None
    freeze_prototypes_epochs: WholeNumber | None = None
    epoch_queue_starts: WholeNumber | None = None
    kmeans_iters: Count | None = None
    clip_grad: Amount | None = None
    freeze_last_layer: WholeNumber | None = None
    norm_last_layer: bool | None = None
    use_bn_in_head: bool | None = None
    student_temperature: Positive | None = None
    teacher_temperature: Positive | None = None
    warmup_teacher_temperature: Positive | None = None
    warmup_teacher_temperature_epochs: WholeNumber | None = None
    # ressl
    temperature_q: Positive | None = None
    temperature_k: Positive | None = None
    # mae
    mask_ratio: Annotated[UnitInterval, Field(lt=1)] | None = None
    norm_pix_loss: bool | None = None
    decoder_embed_dim: Count | None = None
    decoder_depth: Count | None = None
    decoder_num_heads: Count | None = None


def check_solo_learn_kwargs(method_kwargs: Mapping[str, Any]) -> None:
    """Checks `method_kwargs` of a method of solo-learn; those of our methods have no effect on it.

    Raises:
        InputError: for a wrong value, or a key that resembles one of solo-learn's.
    """
    ours = {key for model in METHODS.values() for key in model.model_fields}
    foreign = ours - SoloLearnKwargs.model_fields.keys()
    theirs = {key: value for key, value in method_kwargs.items() if key not in foreign}
    validate_with_own_keys(SoloLearnKwargs, theirs, "method_kwargs")
