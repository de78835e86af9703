"""Checks which image sizes a backbone takes, without computing anything."""

from collections.abc import Mapping

import torch
from omegaconf import DictConfig
from torch import nn
from torch.func import functional_call

from solo_bayesncl.errors import InputError

# timm's transformers are built for one size without these: prefix of the name -> argument
_SEVERAL_SIZES = {"vit": "dynamic_img_size=True", "swin": "strict_img_size=False"}


def require_image_sizes(backbone: nn.Module, sizes: Mapping[str, int], cfg: DictConfig) -> None:
    """Refuses image sizes that a backbone does not take, before an image is read.

    Two images of each size pass through it on PyTorch's meta device: shapes without values.

    Args:
        backbone: (N, 3, H, W) to (N, F).
        sizes: key that decides on a size -> px.
        cfg: holds `backbone.name` and `backbone.kwargs`, for the message.

    Raises:
        InputError: names the key and what to change.
    """
    values = (*backbone.named_parameters(), *backbone.named_buffers())
    weights = {name: value.to("meta") for name, value in values}
    dtype = next(backbone.parameters()).dtype
    kwargs = cfg.backbone.get("kwargs") or {}
    for key, size in sizes.items():
        try:
            images = torch.empty(2, 3, size, size, device="meta", dtype=dtype)
            functional_call(backbone, weights, (images,))
        except NotImplementedError:
            return  # an operator without a meta kernel: the first step will show it
        except (AssertionError, RuntimeError, ValueError, TypeError) as error:
            raise InputError(
                f"backbone.name={cfg.backbone.name} with backbone.kwargs={kwargs} does not "
                f"take the {size} px of {key}: {str(error).splitlines()[0].rstrip('.')}. "
                + _advice(cfg.backbone.name, key, size)
            ) from error


def _advice(name: str, key: str, size: int) -> str:
    several = next((key for kind, key in _SEVERAL_SIZES.items() if name.startswith(kind)), None)
    if several is None:
        return f"Change {key} or backbone.kwargs."
    return (
        f"Set ++backbone.kwargs.img_size={size} (++backbone.kwargs.{several} for several sizes; "
        f"patches and windows must fit in), or change {key}."
    )
