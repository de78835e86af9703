"""Settings of a demo data set: the same settings give the same files."""

from dataclasses import asdict, dataclass
from typing import ClassVar

from solo_bayesncl.errors import ArgumentError


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of one data set, checked on creation.

    Attributes:
        dataset: "glyphs", "digits" or "emoji".
        train_size, val_size: number of images of each split.
        size: side of an image in pixels.

    Raises:
        ArgumentError: for a value of another type or out of range.
    """

    # Increase it when the same settings start to give other files, so that old ones aren't reused.
    RECIPE: ClassVar[int] = 1

    dataset: str
    train_size: int
    val_size: int
    size: int

    def __post_init__(self):
        _require_int("size", self.size, 16, 256)

    def as_dict(self) -> dict:
        """The settings as plain values, ready for JSON."""
        return {"recipe": self.RECIPE, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class DrawnSettings(Settings):
    """Settings of a data set that is drawn at random.

    Attributes:
        classes: number of classes; a split needs at least one image of each.
        available: largest number of images of both splits together.
        textures, train_size, val_size, size, seed: as `make_glyphs` and `make_digits`.
    """

    classes: int
    available: int
    textures: bool
    seed: int

    def __post_init__(self):
        if not isinstance(self.textures, bool):
            raise ArgumentError("textures", self.textures, " cannot be used. Give True or False.")
        most = self.available - self.classes
        _require_int("train_size", self.train_size, self.classes, most)
        _require_int("val_size", self.val_size, self.classes, most)
        if self.train_size + self.val_size > self.available:
            raise ArgumentError(
                "train_size", self.train_size,
                f" and val_size={self.val_size} ask for {self.train_size + self.val_size} "
                f"{self.dataset}. There are {self.available}: lower one of them.",
            )  # fmt: skip
        super().__post_init__()
        _require_int("seed", self.seed, 0, 2**32 - 1)


def _require_int(argument: str, value: object, low: int, high: int) -> None:
    """Raises `ArgumentError` unless `value` is a whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        problem = f" cannot be used. Give a whole number from {low} to {high}."
        raise ArgumentError(argument, value, problem)
