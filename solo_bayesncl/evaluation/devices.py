"""Where metrics are computed."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


def metric_device(device: torch.device) -> torch.device:
    """A GPU, or the CPU: metrics need float64, which MPS lacks."""
    return device if device.type == "cuda" else torch.device("cpu")


def on_device(device: torch.device, compute: Callable[..., Result], *tensors: Tensor) -> Result:
    """`compute(*tensors)` on a GPU, or on the CPU if the GPU's memory is too small."""
    if metric_device(device).type == "cuda":
        try:
            return compute(*(tensor.to(device) for tensor in tensors))
        except torch.OutOfMemoryError:
            pass  # until this block ends, the exception keeps its tensors on the GPU
        torch.cuda.empty_cache()
    return compute(*tensors)


def device_name(device: torch.device) -> str:
    """`cpu`, or the name of the GPU."""
    return device.type if device.type != "cuda" else torch.cuda.get_device_name(device)
