"""Runs a trained model over images: features, codes, gates and logits."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from solo_bayesncl.console import progress
from solo_bayesncl.precision import autocast
from solo_bayesncl.runs.models import encode_outputs


@dataclass(frozen=True)
class Outputs:
    """Outputs of a model for one split, on the CPU.

    Attributes:
        feats: (M, F) backbone features.
        codes: (M, D) gated, normalised projections.
        labels: (M,) int64.
        projections: (M, D) non-negative, normalised projections before the gate.
        logits: (M, C) of the online classifier.
        probs: (M, D) posterior open-probabilities, None without a gate.
        mask: (M, D) values of the gate, None without a gate.
    """

    feats: Tensor
    codes: Tensor
    labels: Tensor
    projections: Tensor | None = None
    logits: Tensor | None = None
    probs: Tensor | None = None
    mask: Tensor | None = None

    @property
    def spaces(self) -> dict[str, Tensor]:
        """Name -> (M, any width), rows of unit length but for the gate's.

        The gate's is its open-probability where it is open and 0 where it is closed, so that a
        dimension is active where its gate is open.
        """
        spaces = {"backbone": F.normalize(self.feats)}
        if self.probs is not None:
            spaces["projections"] = self.projections
            spaces["gate"] = self.probs * (self.mask > 0)
        return {**spaces, "codes": self.codes}


@torch.no_grad()
def forward_images(
    model: nn.Module, images: Tensor, device: torch.device, precision: str
) -> dict[str, Tensor]:
    """Outputs of a model on `device` for normalised images (N, 3, H, W), named as in `Outputs`."""
    with autocast(precision, device):
        out = model(images.to(device, non_blocking=True))
        outputs = {
            "feats": out["feats"],
            "logits": out["logits"],
            **vars(encode_outputs(model, out)),
        }
    return {name: value.float() for name, value in outputs.items() if value is not None}


def outputs_by_batch(
    model: nn.Module, loader: Iterable, device: torch.device, precision: str, description: str
) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """Moves a model to `device` and runs it over a loader of (images, labels).

    Args:
        model: in evaluation mode.
        loader: yields normalised images and their labels.
        device: where to compute.
        precision: one of `solo_bayesncl.precision.PRECISIONS`.
        description: for the progress bar.

    Yields:
        The outputs of `forward_images` on `device`, and the labels on the CPU.
    """
    model.to(device)
    for images, labels in progress(loader, description):
        yield forward_images(model, images, device, precision), labels


def collect(
    model: nn.Module, loader: DataLoader, device: torch.device, precision: str, description: str
) -> Outputs:
    """All outputs for the images of a loader. Arguments as above."""
    labels: list[Tensor] = []
    kept: dict[str, Tensor] = {}
    count = 0
    for outputs, of_batch in outputs_by_batch(model, loader, device, precision, description):
        # one copy, so that the CPU waits for the GPU once a batch
        rows = torch.cat(list(outputs.values()), dim=1).cpu()
        widths = [value.size(1) for value in outputs.values()]
        for name, values in zip(outputs, rows.split(widths, dim=1), strict=True):
            if name not in kept:  # for all images at once: joining batches would hold them twice
                kept[name] = values.new_empty(len(loader.dataset), values.size(1))
            kept[name][count : count + len(values)] = values
        labels.append(of_batch)
        count += len(of_batch)
    return Outputs(
        labels=torch.cat(labels), **{name: values[:count] for name, values in kept.items()}
    )
