"""Embeddings of images by a reference model of timm, on which monosemanticity is measured."""

from pathlib import Path

import timm
import torch
from safetensors.torch import load_file
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor, nn
from torch.utils.data import DataLoader

from solo_bayesncl.console import progress
from solo_bayesncl.data.loaders import worker_options
from solo_bayesncl.data.transforms import without_transform
from solo_bayesncl.data.unreadable import ReadableLoader, Reading, UnreadableImages
from solo_bayesncl.errors import ArgumentError


@torch.no_grad()
def reference_embeddings(
    name: str,
    weights: Path | None,
    loader: DataLoader,
    device: torch.device,
    max_pixels: int | None = None,
) -> Tensor:
    """(M, E) pooled features of a timm model, with its own preprocessing.

    Args:
        name: of a timm model, checked by `Options`.
        weights: .safetensors or .pth file with the model's weights; by default timm
            downloads them.
        loader: its data set is used, and how it loads it, not its transform.
        device: where to compute.
        max_pixels: largest number of pixels of an image, None for Pillow's limit.

    Raises:
        ArgumentError: for weights that cannot be downloaded or read, or do not fit.
        InputError: for images that cannot be read.
    """
    model = _load(name, weights).to(device).eval()
    images = without_transform(loader.dataset)
    images.transform = create_transform(**resolve_model_data_config(model), is_training=False)
    batches = ReadableLoader.like(
        DataLoader(images, batch_size=loader.batch_size, **worker_options(loader)),
        UnreadableImages(Reading(max_pixels)),
    )
    embeddings = [
        model(batch.to(device, non_blocking=True)).float().cpu()
        for batch, _ in progress(batches, f"reference {name}")
    ]
    return torch.cat(embeddings)


def _load(name: str, weights: Path | None) -> nn.Module:
    if weights is None:
        try:
            return timm.create_model(name, pretrained=True, num_classes=0)
        except Exception as error:  # the hub's client raises what its transport does
            raise ArgumentError(
                "reference", name,
                f": its weights cannot be downloaded ({type(error).__name__}). Give a file of them "
                "as reference weights.",
            ) from error  # fmt: skip
    model = timm.create_model(name)
    try:
        if weights.suffix == ".safetensors":
            state = load_file(weights)
        else:
            state = torch.load(weights, map_location="cpu", weights_only=True)
        model.load_state_dict(state)
    except Exception as error:  # a damaged file can make the unpickler raise nearly anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        problem = f" cannot be loaded into timm's {name}: {reason}"
        raise ArgumentError("reference_weights", weights, problem) from error
    model.reset_classifier(0)
    return model
