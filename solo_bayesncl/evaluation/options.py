"""Options of an evaluation, checked before torch and solo-learn are imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from solo_bayesncl.errors import ArgumentError
from solo_bayesncl.precision import AS_TRAINED, check_precision

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Options:
    """Options of an evaluation; raises `ArgumentError` where they are wrong.

    Attributes:
        data: folder with `train/` and `val/` to use instead of the run's own data.
        device: auto, or torch's name of a device.
        precision: of the model, `auto` for that of its training (`solo_bayesncl.precision`).
        workers: loader processes, by default as in training.
        metadata: CSV with a column per factor, by default `metadata.csv` beside the validation
            folder if there is one.
        reference: timm model whose features judge monosemanticity, by default the run's own
            backbone.
        reference_weights: file with that model's weights, by default those that timm downloads.
        on_corrupt: whether images that cannot be read stop the evaluation or are left out: `stop`
            or `skip`, by default as in training.
        max_image_pixels: largest number of pixels of an image, by default as in training.
        quick: without the linear probes of the codes, which take most of the time of an evaluation
            beside the model's.
    """

    data: Path | None = None
    device: str = "auto"
    precision: str = AS_TRAINED
    workers: int | None = None
    metadata: Path | None = None
    reference: str | None = None
    reference_weights: Path | None = None
    on_corrupt: str | None = None
    max_image_pixels: int | None = None
    quick: bool = False

    def __post_init__(self):
        check_precision(self.precision)
        if self.workers is not None and self.workers < 0:
            raise ArgumentError("workers", self.workers, ": give an integer of at least 0.")
        if self.on_corrupt not in (None, "stop", "skip"):
            raise ArgumentError("on_corrupt", self.on_corrupt, ": give stop or skip.")
        if self.max_image_pixels is not None and self.max_image_pixels < 1:
            raise ArgumentError(
                "max_image_pixels", self.max_image_pixels, ": give an integer of at least 1."
            )
        if self.reference_weights is not None and self.reference is None:
            raise ArgumentError(
                "reference_weights", self.reference_weights,
                ": also give the reference, the name of the timm model that they belong to.",
            )  # fmt: skip
        if self.reference is not None:
            import timm  # takes seconds, so only where it is needed

            if not timm.is_model(self.reference):
                near = ", ".join(timm.list_models(f"*{self.reference}*")[:5])
                hint = f" Similar names: {near}." if near else ""
                problem = f" is not a model of timm {timm.__version__}.{hint}"
                raise ArgumentError("reference", self.reference, problem)
        for option in ("metadata", "reference_weights"):
            path = getattr(self, option)
            if path is not None and not path.is_file():
                raise ArgumentError(option, path, " is not a file.")

    @property
    def torch_device(self) -> torch.device:
        """Where to compute; raises `ArgumentError` if there is no such device."""
        import torch  # takes seconds, so only where it is needed

        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
            torch.zeros(1, device=device).item()
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            problem = f" cannot be used: {reason} Choose auto or cpu."
            raise ArgumentError("device", self.device, problem) from error
        return device
