"""What pretraining on ImageNet-1K would cost on 8 and 64 GPUs, computed from measured parts.

    python benchmarks/imagenet.py [--photos-per-core 50] [--cores-per-gpu 16]

Nothing here runs on a GPU. What is counted: the operations of backbone and heads (torch's
FlopCounterMode on the meta device), those of InfoNCE, and the bytes of the collectives. What is
measured: the photos that one core reads and augments in a second (bench/input.json, written by
benchmarks/input.py). What is taken from others: `Cluster`, with its sources. The setting is the
recipe of ImageNet-100 with a ResNet-50, at 128 images per GPU.
"""

import argparse
import json
from dataclasses import dataclass

import torch
import torchvision
from ratios import OUT, Row, write_rows
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from solo_bayesncl.nn import mlp

IMAGES, VALIDATION_IMAGES, EPOCHS = 1_281_167, 50_000, 100
BATCH, VIEWS, PIXELS = 128, 2, 224
FEATURES, HIDDEN, CODES = 2048, 16384, 2048


@dataclass(frozen=True)
class Cluster:
    """Nodes of 8 A100; the rates are assumptions, not measurements of ours.

    Attributes:
        classified_per_s: images/s of ResNet-50's supervised training in mixed precision on one
            GPU: 2470, by NVIDIA/DeepLearningExamples, PyTorch/Classification/ConvNets/resnet50v1.5.
        fp32_flops: reached by matrix products in float32: half of the data sheet's 19.5e12.
        within_node: bytes/s of one GPU over NVLink, data sheet.
        between_nodes: bytes/s of one GPU over its 200 Gb/s InfiniBand adapter, data sheet.
    """

    classified_per_s: float = 2470
    fp32_flops: float = 9.75e12
    within_node: float = 300e9
    between_nodes: float = 25e9


def training_flops(model: nn.Module, *size: int) -> int:
    """Of one forward and backward pass."""
    counter = FlopCounterMode(display=False)
    with counter:
        model(torch.randn(size, device="meta")).sum().backward()
    return counter.get_total_flops()


def seconds_of_step(gpus: int, cluster: Cluster) -> dict[str, float]:
    """Part of a step -> its seconds on each GPU, if it overlapped with nothing."""
    with torch.device("meta"):
        backbone = torchvision.models.resnet50()
        heads = [mlp(FEATURES, HIDDEN, CODES) for _ in range(2)]  # projector and gating head
    crops, rows = VIEWS * BATCH, VIEWS * BATCH * gpus
    of_backbone = training_flops(backbone, 1, 3, PIXELS, PIXELS)
    of_heads = sum(training_flops(head, 1, FEATURES) for head in heads)
    rate = cluster.classified_per_s * of_backbone
    of_loss = 3 * 2 * crops * rows * CODES  # three products, in float32
    parameters = sum(p.numel() for module in (backbone, *heads) for p in module.parameters())
    bandwidth = cluster.within_node if gpus <= 8 else cluster.between_nodes
    share = (gpus - 1) / gpus
    return {
        "backbone": crops * of_backbone / rate,
        "heads": crops * of_heads / rate,
        "InfoNCE": of_loss / cluster.fp32_flops,
        "exchange of codes and their gradients": 2 * share * 4 * rows * CODES / bandwidth,
        "all-reduce of the parameters' gradients": 2 * share * 4 * parameters / bandwidth,
    }


def seconds_of_evaluation(cluster: Cluster) -> dict[str, float]:
    """Part of `evaluate` on one GPU -> its seconds; a forward pass is a third of a step."""
    images = IMAGES + VALIDATION_IMAGES
    neighbours = 2 * IMAGES * VALIDATION_IMAGES * (FEATURES + CODES)
    return {
        "forward passes": images / (3 * cluster.classified_per_s),
        "nearest neighbours": neighbours / cluster.fp32_flops,
    }


def photos_per_core(name: str) -> float:
    """Photos per second of one core, as bench/input.json has them."""
    return json.loads((OUT / "input.json").read_text())["photos_per_core"][name]


def shares(parts: dict[str, float]) -> str:
    total = sum(parts.values())
    return ", ".join(f"{part} {100 * seconds / total:.1f} %" for part, seconds in parts.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="has no effect: nothing is run")
    parser.parse_args()
    cluster = Cluster()
    augmented, read = photos_per_core("augmented"), photos_per_core("read")
    rows = []
    for gpus in (8, 64):
        parts = seconds_of_step(gpus, cluster)
        step = sum(parts.values())
        hours = EPOCHS * IMAGES / (BATCH * gpus) * step / 3600
        rate = BATCH / step
        rows += [
            Row(f"{gpus} GPUs: {EPOCHS} epochs at the GPUs' rate", hours, unit="h",
                note=shares(parts)),
            Row(f"{gpus} GPUs: cores per GPU for input at this rate", rate / augmented,
                unit="cores", note=f"{rate:.0f} images/s of a GPU, {augmented:.0f} of a core; "
                f"{rate / read:.1f} if augmented on the GPU ({read:.0f} read by a core)"),
        ]  # fmt: skip
    parts = seconds_of_evaluation(cluster)
    gpu = sum(parts.values())
    cores = (IMAGES + VALIDATION_IMAGES) / gpu / read
    rows += [
        Row("evaluate, 1 GPU, at its rate", gpu / 60, unit="min", note=shares(parts)),
        Row("evaluate: cores for reading at this rate", cores, unit="cores"),
    ]
    write_rows("imagenet", rows)


if __name__ == "__main__":
    main()
