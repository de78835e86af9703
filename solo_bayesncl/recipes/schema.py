"""The keys of a recipe, with the values they accept."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from solo_bayesncl.adapters.datasets import DATASETS, DOWNLOADED
from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes.augmentations import Augmentation, Normalisation
from solo_bayesncl.recipes.optimization import (
    LinearOptimizer,
    LinearScheduler,
    Optimizer,
    PretrainOptimizer,
    Scheduler,
)
from solo_bayesncl.recipes.trainer_settings import TrainerSettings
from solo_bayesncl.recipes.validation import Section, accepts
from solo_bayesncl.recipes.values import Amount, Count, PathName, Seed, Text, UnitInterval

MAX_WORKERS = 1024  # a slip such as 40000 would bring the machine down
# an absent section lacks each of its required keys
REQUIRED_SECTION = Field({}, validate_default=True)
# written by solo-learn into the record of a run, or dead in a recipe of its own
INTERNAL = Field(None, json_schema_extra={"internal": True})
Off = Annotated[Literal[False], accepts("False (solo-learn's own scripts have it)")]


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) else value


# YAML reads a name such as 5 as a number
Name = Annotated[
    Text,
    Field(pattern=r"^[^/\\{}\x00]+$"),
    BeforeValidator(_as_text),
    accepts("a name for the run and its files, without / \\ { }"),
]


class Backbone(Section):
    name: Text
    kwargs: dict[str, Any] | None = None  # the backbone checks them


class Data(Section):
    dataset: Literal[DATASETS]
    format: Literal["image_folder", "dali", "h5"] = "image_folder"
    augment: Literal["image", "batch"] = "image"
    train_path: PathName
    val_path: PathName | None = None
    num_workers: Annotated[int, Field(ge=0, le=MAX_WORKERS)]
    no_labels: bool | None = False
    fraction: Annotated[
        Annotated[float, Field(lt=1)] | None,
        accepts("the share of the training images to use, between 0 and 1, or null for all"),
    ] = None
    on_corrupt: Literal["stop", "skip"] = "stop"
    max_image_pixels: Count | None = None
    num_classes: Any = INTERNAL
    num_large_crops: Any = INTERNAL
    num_small_crops: Any = INTERNAL

    @model_validator(mode="after")
    def _check_format(self):
        if self.format == "dali" and self.dataset in DOWNLOADED:
            raise InputError(
                f"data.format=dali reads image folders, not data.dataset={self.dataset}. Set "
                "data.format=image_folder, or data.dataset=custom with the images as files."
            )
        return self

    @model_validator(mode="after")
    def _check_augment(self):
        if self.augment == "batch" and self.format != "image_folder":
            raise InputError(
                f"data.augment=batch augments images of image folders, CIFAR and STL-10, not of "
                f"data.format={self.format}. Set data.augment=image, or data.format=image_folder."
            )
        return self

    @model_validator(mode="after")
    def _check_fraction(self):
        if (self.fraction or -1) > 0 and (self.dataset in DOWNLOADED or self.format == "h5"):
            source = "data.format=h5" if self.format == "h5" else f"data.dataset={self.dataset}"
            raise InputError(
                f"data.fraction={self.fraction} is for image folders, not for {source}: leave it "
                "out."
            )
        return self


class LabelledData(Data):
    augment: Annotated[Literal["image"], accepts("image (batch is for pretraining)")] = "image"
    val_path: PathName
    augmentations: Normalisation | None = None


class Dali(Section):
    device: Literal["gpu", "cpu"] | None = None
    encode_indexes_into_labels: bool | None = None


class Checkpoint(Section):
    enabled: bool | None = None
    dir: PathName | None = None
    frequency: Count | None = None
    keep_prev: bool | None = None


class AutoResume(Section):
    enabled: bool | None = None
    max_hours: Amount | None = None


class AutoUMAP(Section):
    enabled: Off | None = None
    dir: PathName | None = None
    frequency: Count | None = None


class WandB(Section):
    enabled: bool | None = None
    entity: Text | None = None
    project: Text | None = None
    offline: bool | None = None


class Performance(Section):
    disable_channel_last: bool | None = None


class KNNEval(Section):
    enabled: bool | None = None
    k: Count | None = None
    distance_func: Literal["euclidean", "cosine"] | None = None


class Momentum(Section):
    base_tau: UnitInterval | None = None
    final_tau: UnitInterval | None = None
    classifier: bool | None = None

    @model_validator(mode="after")
    def _check_order(self):
        if None not in (self.base_tau, self.final_tau) and self.base_tau > self.final_tau:
            raise InputError(
                f"momentum.base_tau={self.base_tau} exceeds momentum.final_tau={self.final_tau}, "
                "where it ends: give a smaller one."
            )
        return self


class Recipe(TrainerSettings):
    """What recipes of pretraining and of linear evaluation share."""

    name: Name
    backbone: Backbone = REQUIRED_SECTION
    data: Data = REQUIRED_SECTION
    dali: Dali | None = None
    optimizer: Optimizer = REQUIRED_SECTION
    scheduler: Scheduler = REQUIRED_SECTION
    checkpoint: Checkpoint = Checkpoint()
    auto_resume: AutoResume = AutoResume()
    auto_umap: AutoUMAP | None = None
    wandb: WandB = WandB()
    performance: Performance = Performance()
    resume_from_checkpoint: PathName | None = None
    seed: Seed | None = None
    debug_augmentations: bool | None = None
    wandb_run_id: Any = INTERNAL
    augmentations_cfg: Any = INTERNAL
    wandb_cfg: Any = INTERNAL


class PretrainRecipe(Recipe):
    method: Text
    method_kwargs: dict[str, Any] | None = Field({})  # checked in recipes.method_kwargs
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
        crops = sum(augmentation.num_crops for augmentation in self.augmentations)
        if crops < 2 and self.method != "mae":
            raise InputError("augmentations: num_crops add up to 1; a positive pair needs 2 crops.")
        return self


class LinearRecipe(Recipe):
    pretrained_feature_extractor: PathName
    pretrain_method: Text | None = None
    data: LabelledData = REQUIRED_SECTION
    optimizer: LinearOptimizer = REQUIRED_SECTION
    scheduler: LinearScheduler = REQUIRED_SECTION
    finetune: bool | None = None
    auto_augment: bool | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | None = None
    mixup: Amount | None = None
    cutmix: Amount | None = None
