"""Types of values that the keys of recipes share."""

from typing import Annotated

from pydantic import Field

from solo_bayesncl.recipes.validation import accepts

MAX_SEED = 2**32 - 1  # Lightning draws another seed in place of a larger one

Count = Annotated[int, Field(ge=1)]
WholeNumber = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
UnitInterval = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Text = Annotated[str, Field(min_length=1)]
PathName = Annotated[Text, accepts("a path", format="path")]
Channels = Annotated[
    list[UnitInterval], Field(min_length=3, max_length=3), accepts("three numbers from 0 to 1")
]
Scales = Annotated[
    list[Positive], Field(min_length=3, max_length=3), accepts("three numbers above 0")
]
