"""NCL and BayesNCL for solo-learn: contrastive learning with interpretable dimensions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from solo_bayesncl.sharing.encoder import Encoder

__version__ = "0.1.0"
__all__ = ["__version__", "load_encoder", "register"]


def register() -> None:
    """Adds `ncl`, `bayesncl` and `ncl_...`, `bayesncl_...` to `solo.methods.METHODS`.

    Also adds `small_resnet` to the backbones. Calling it again changes nothing.

    Raises:
        InputError: if no solo-learn is installed.
    """
    from solo_bayesncl import methods  # solo-learn takes seconds to import

    methods.register()


def load_encoder(
    path: str | Path, precision: str = "auto", code_length: float | None = None
) -> Encoder:
    """A trained model as a module from images to codes, in evaluation mode.

        encoder = solo_bayesncl.load_encoder("trained_models/bayesncl/offline-1a2b3c4d")
        image = encoder.transform(PIL.Image.open("cat.jpg"))
        codes = encoder(image[None])
        print(encoder.describe("cat.jpg"))

    Args:
        path: folder of a run of any method of solo-learn, one of its .ckpt files, or what
            `solo-bayesncl export --format safetensors` has written.
        precision: "32-true", "16-mixed", "bf16-mixed", or "auto": on a GPU as the run was trained,
            "32-true" on the CPU and for an exported file.
        code_length: cut the codes to this many active entries per image, on average over the
            training images, with one threshold (`solo_bayesncl.metrics.cut`). The threshold is that
            of the run's evaluation; without one, training images are encoded once, and it is kept
            in the run's folder. None for codes as trained, or as exported.

    Returns:
        From (N, 3, H, W) images, normalised, to (N, D) float32 codes; see
        `solo_bayesncl.sharing.encoder.Encoder`.

    Raises:
        InputError: if there is no such run, it does not fit the installed solo-learn, or there is
            no threshold for the length and no training images to find one on.
    """
    from solo_bayesncl.sharing import loading

    return loading.load_encoder(path, precision, code_length)
