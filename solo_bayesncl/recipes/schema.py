"""The keys of a recipe that are checked, with the values they accept."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from solo_bayesncl.adapters.datasets import DATASETS, DOWNLOADED
from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes.validation import Section, accepts

MAX_SEED = 2**32 - 1  # Lightning draws another seed in place of a larger one
LARS_KEYS = ("clip_lr", "eta", "exclude_bias_n_norm")

Count = Annotated[int, Field(ge=1)]
Amount = Annotated[float, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
UnitInterval = Annotated[float, Field(ge=0, le=1)]
PathName = Annotated[str, Field(min_length=1), accepts("a path", format="path")]
Channels = Annotated[list[float], Field(min_length=3, max_length=3), accepts("three numbers")]
# an absent section lacks each of its required keys
REQUIRED_SECTION = Field({}, validate_default=True)


class Backbone(Section):
    name: str


class Data(Section):
    dataset: Literal[DATASETS]
    format: Literal["image_folder", "dali", "h5"] = "image_folder"
    train_path: PathName
    val_path: PathName | None = None
    num_workers: Annotated[int, Field(ge=0)]
    no_labels: bool | None = False
    fraction: Annotated[
        Annotated[float, Field(lt=1)] | None,
        accepts("the share of the training images to use, between 0 and 1, or null for all"),
    ] = None

    @model_validator(mode="after")
    def _check_format(self):
        if self.format == "dali" and self.dataset in DOWNLOADED:
            raise InputError(
                f"data.format=dali reads image folders, not data.dataset={self.dataset}. Set "
                "data.format=image_folder, or data.dataset=custom with the images as files."
            )
        return self


class LabelledData(Data):
    val_path: PathName


class Dali(Section):
    device: Literal["gpu", "cpu"] | None = None


class Augmentation(Section):
    crop_size: Count
    num_crops: Count
    mean: Channels | None = None
    std: Channels | None = None


class Optimizer(Section):
    name: Literal["sgd", "lars", "adam", "adamw"]
    batch_size: Count
    lr: Amount
    weight_decay: Amount
    kwargs: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _check_lars(self):
        foreign = [key for key in LARS_KEYS if key in (self.kwargs or {})]
        if self.name != "lars" and foreign:
            raise InputError(
                f"optimizer.kwargs: {', '.join(foreign)} belong to optimizer.name=lars. With "
                f"optimizer.name={self.name} leave them out: type ~optimizer.kwargs."
            )
        return self


class GatingHeadOptimizer(Section):
    gating_head_lr: Amount | None = None


class PretrainOptimizer(Optimizer, GatingHeadOptimizer):
    classifier_lr: Amount


class Scheduler(Section):
    name: Literal["warmup_cosine", "step", "none"]
    warmup_epochs: Amount | None = None
    warmup_start_lr: Amount | None = None
    min_lr: Amount | None = None
    lr_decay_steps: list[Any] | None = None

    @model_validator(mode="after")
    def _check_steps(self):
        if self.name == "step" and not self.lr_decay_steps:
            raise InputError("scheduler.name=step needs scheduler.lr_decay_steps, e.g. [60,80].")
        return self


class LinearScheduler(Scheduler):
    name: Literal["warmup_cosine", "step", "exponential", "none"]


class Checkpoint(Section):
    dir: PathName | None = None
    frequency: Count | None = None


class KNNEval(Section):
    k: Count | None = None


class Momentum(Section):
    base_tau: UnitInterval | None = None
    final_tau: UnitInterval | None = None

    @model_validator(mode="after")
    def _check_order(self):
        if None not in (self.base_tau, self.final_tau) and self.base_tau > self.final_tau:
            raise InputError(
                f"momentum.base_tau={self.base_tau} exceeds momentum.final_tau={self.final_tau}, "
                "where it ends: give a smaller one."
            )
        return self


class Recipe(Section):
    """What recipes of pretraining and of linear evaluation share."""

    name: Annotated[Any, accepts("a name for the run")]
    backbone: Backbone = REQUIRED_SECTION
    data: Data = REQUIRED_SECTION
    dali: Dali | None = None
    optimizer: Optimizer = REQUIRED_SECTION
    scheduler: Scheduler = REQUIRED_SECTION
    checkpoint: Checkpoint = Checkpoint()
    wandb: dict[str, Any] = Field({})
    resume_from_checkpoint: PathName | None = None
    seed: Seed | None = None
    max_epochs: Count
    check_val_every_n_epoch: Count | None = None
    accumulate_grad_batches: Count | None = None
    num_nodes: Count | None = None
    accelerator: Literal["auto", "gpu", "cuda", "cpu"] | None = None
    precision: Literal[
        "16-mixed", "bf16-mixed", "32-true", "64-true", 16, 32, 64, "16", "32", "64", "bf16"
    ] = "32-true"


class PretrainRecipe(Recipe):
    method: str
    method_kwargs: dict[str, Any] = Field({})  # checked in recipes.method_kwargs
    optimizer: PretrainOptimizer = REQUIRED_SECTION
    augmentations: list[Augmentation] = Field(min_length=1)
    momentum: Momentum = Momentum()
    knn_eval: KNNEval | None = None

    @model_validator(mode="after")
    def _check_crops(self):
        sizes = [augmentation.crop_size for augmentation in self.augmentations]
        large = sizes.count(sizes[0])  # solo-learn takes the first crops as the large ones
        if sizes[:large] != [sizes[0]] * large:
            raise InputError(
                f"augmentations.INDEX.crop_size={sizes}: the crops of one size must follow each "
                "other, the large ones first. Order the entries of augmentations so."
            )
        if sum(augmentation.num_crops for augmentation in self.augmentations) < 2:
            raise InputError("augmentations: num_crops add up to 1; a positive pair needs 2 crops.")
        return self


class LinearRecipe(Recipe):
    pretrained_feature_extractor: PathName
    data: LabelledData = REQUIRED_SECTION
    scheduler: LinearScheduler = REQUIRED_SECTION
