"""A whole encoder with its settings, for `solo_bayesncl.load_encoder` or plain torch."""

import json
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
from torch import Tensor, nn

from solo_bayesncl.nn import mlp
from solo_bayesncl.objective import encode
from solo_bayesncl.sharing.encoder import PARTS, Encoder
from solo_bayesncl.sharing.formats.base import contiguous, to_source
from solo_bayesncl.sharing.formats.torchvision import ResNetFormat


class SafetensorsFormat(ResNetFormat):
    """Backbone and heads, with settings and classes as metadata.

    A ResNet with heads of `solo_bayesncl.nn.mlp` is loaded without solo-learn.
    """

    name = "safetensors"
    outputs = "codes"
    alternative = ""

    def __init__(self, encoder: Encoder):
        super().__init__(encoder)
        model = encoder.model
        names = [name for name in ("projector", "gating_head") if hasattr(model, name)]
        # arguments of `mlp` by name of a head; empty for models that need solo-learn
        self.heads = {name: _mlp_arguments(getattr(model, name)) for name in names}
        if not self.is_resnet or hasattr(model, "predictor") or None in self.heads.values():
            self.heads = {}
        self.options = getattr(model, "code_options", {"non_neg": None})

    def content(self, out: Path) -> bytes:
        weights = contiguous(self.encoder.model.state_dict())
        return safetensors.torch.save(
            {name: value for name, value in weights.items() if name.startswith(PARTS)},
            {key: json.dumps(getattr(self.encoder, key)) for key in ("settings", "classes")},
        )

    def load(self, path: Path) -> Callable[[Tensor], Tensor]:
        if not self.heads:
            return Encoder.load(path)
        parts = nn.ModuleDict({name: mlp(*arguments) for name, arguments in self.heads.items()})
        parts["backbone"] = self.build_resnet()
        parts.load_state_dict(safetensors.torch.load_file(path))
        parts.eval()

        def codes(images: Tensor) -> Tensor:
            feats = parts["backbone"](images)
            return encode(*(parts[name](feats) for name in self.heads), **self.options).codes

        return codes

    def usage(self, path: Path) -> list[str]:
        if not self.heads:
            return [
                "import solo_bayesncl",
                f"outputs = solo_bayesncl.load_encoder({str(path)!r})(images)",
            ]
        return [
            "import torch, torchvision, safetensors.torch",
            "from solo_bayesncl.nn import mlp  # these two need no solo-learn",
            "from solo_bayesncl.objective import encode",
            *self.resnet_usage(),
            "parts = torch.nn.ModuleDict({'backbone': backbone})",
            *(
                f"parts[{name!r}] = mlp({in_dim}, {hidden_dim}, {out_dim}, depth={depth})"
                for name, (in_dim, hidden_dim, out_dim, depth) in self.heads.items()
            ),
            f"parts.load_state_dict(safetensors.torch.load_file({str(path)!r}))",
            "feats = parts.eval()['backbone'](images)",
            f"heads = [parts[name](feats) for name in {list(self.heads)}]",
            f"outputs = encode(*heads, {to_source(self.options)}).codes",
        ]


def _mlp_arguments(head: nn.Module) -> tuple[int, int, int, int] | None:
    """Arguments of `mlp` that give `head`: its widths and depth; None for another module."""
    layers = list(head) if isinstance(head, nn.Sequential) else [head]
    linear, between = layers[::2], layers[1::2]
    if not linear or {*map(type, linear)} != {nn.Linear} or not {*map(type, between)} <= {nn.ReLU}:
        return None
    return linear[0].in_features, linear[0].out_features, linear[-1].out_features, len(linear)
