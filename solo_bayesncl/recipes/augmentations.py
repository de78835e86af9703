"""The entries of `augmentations`: how the crops of an image are made."""

from typing import Annotated

from pydantic import Field, model_validator

from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes.validation import Section
from solo_bayesncl.recipes.values import Amount, Channels, Count, Scales, UnitInterval


class RandomResizedCrop(Section):
    enabled: bool
    crop_min_scale: UnitInterval = 0.08
    crop_max_scale: UnitInterval = 1.0

    @model_validator(mode="after")
    def _check_order(self):
        low, high = self.crop_min_scale, self.crop_max_scale
        if self.enabled and (low > high or high == 0):
            raise InputError(
                f"augmentations.INDEX.rrc: crop_min_scale={low} and crop_max_scale={high}: give "
                "shares of the image's area, the smaller one first, the larger one above 0."
            )
        return self


class RandomlyApplied(Section):
    prob: UnitInterval
    enabled: bool | None = None

    @model_validator(mode="after")
    def _check_enabled(self):
        if self.enabled is False and self.prob > 0:
            raise InputError(
                f"augmentations: enabled=False with prob={self.prob}: solo-learn looks at prob "
                "alone, so set prob=0 (`enabled` is for rrc)."
            )
        return self


class ColorJitter(RandomlyApplied):
    brightness: Amount = 0
    contrast: Amount = 0
    saturation: Amount = 0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0


class Normalisation(Section):
    """Statistics of the pixels in [0, 1] by channel, for data sets without known ones."""

    crop_size: Count
    mean: Channels | None = None
    std: Scales | None = None


class Augmentation(Normalisation):
    num_crops: Count
    rrc: RandomResizedCrop
    color_jitter: ColorJitter
    grayscale: RandomlyApplied
    gaussian_blur: RandomlyApplied
    solarization: RandomlyApplied
    equalization: RandomlyApplied | None = None
    horizontal_flip: RandomlyApplied
