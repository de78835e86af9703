"""Settings of a demo data set: the same settings give the same files."""

from dataclasses import asdict, dataclass
from typing import ClassVar

from solo_bayesncl.errors import InputError


@dataclass(frozen=True)
class Settings:
    """Settings of one data set, checked on creation.

    Attributes:
        dataset: "glyphs" or "digits".
        classes: number of classes; a split needs at least one image of each.
        available: largest number of images of both splits together.
        textures, train_size, val_size, size, seed: as `make_glyphs` and `make_digits`.

    Raises:
        InputError: for a value of another type or out of range; the message names the option.
    """

    # Increase it when the same settings start to give other files, so that old ones aren't reused.
    RECIPE: ClassVar[int] = 1

    dataset: str
    classes: int
    available: int
    textures: bool
    train_size: int
    val_size: int
    size: int
    seed: int

    def __post_init__(self):
        if not isinstance(self.textures, bool):
            raise InputError(f"--textures {self.textures!r} cannot be used. Give True or False.")
        most = self.available - self.classes
        _require_int("--train-size", self.train_size, self.classes, most)
        _require_int("--val-size", self.val_size, self.classes, most)
        if self.train_size + self.val_size > self.available:
            raise InputError(
                f"--train-size {self.train_size} and --val-size {self.val_size} ask for "
                f"{self.train_size + self.val_size} {self.dataset}. There are {self.available}: "
                f"lower one of them."
            )
        _require_int("--size", self.size, 16, 256)
        _require_int("--seed", self.seed, 0, 2**32 - 1)

    def as_dict(self) -> dict:
        """The settings as plain values, ready for JSON."""
        return {"recipe": self.RECIPE, **asdict(self)}


def _require_int(option: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(
            f"{option} {value!r} cannot be used. Give a whole number from {low} to {high}."
        )
