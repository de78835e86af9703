"""Checkpoints of the official code, a fork of solo-learn: what they and their record tell."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes import METHODS
from solo_bayesncl.runs import run as runs

# what weights cannot tell and codes depend on
UNTOLD = (
    "data.dataset",
    "augmentations.0.crop_size",
    "method_kwargs.non_neg",
    "method_kwargs.use_topk",
    "method_kwargs.topk_k",
    "method_kwargs.gate_type",
    "method_kwargs.sigmoid_temperature",
    "method_kwargs.gate_threshold",
)
# those of them that only a gate has
GATE_SETTINGS = tuple(
    f"method_kwargs.{name}"
    for name in METHODS["bayesncl"].model_fields.keys() - METHODS["ncl"].model_fields.keys()
)
SECTIONS = ("backbone", "data", "optimizer", "scheduler", "method_kwargs")


@dataclass(frozen=True)
class Official:
    """A checkpoint of the official code.

    Attributes:
        path: the file.
        weights: by name, those of the method.
        epoch, step: as the file tells them, None if it does not.
        record: the `args.json` beside it, None if there is none.
    """

    path: Path
    weights: dict[str, Tensor]
    epoch: int | None
    step: int | None
    record: dict[str, Any] | None

    @classmethod
    def read(cls, path: Path) -> "Official":
        """Reads the file, never running code from it.

        Raises:
            InputError: if it or its record is damaged, or it is no checkpoint.
        """
        if not path.is_file():
            raise InputError(f"{path} is not a file. Give a .ckpt file of the official code.")
        content = runs.load_foreign_checkpoint(path)
        numbers = [content.get(key) for key in ("epoch", "global_step")]
        epoch, step = (n if isinstance(n, int) else None for n in numbers)
        weights = runs.weights_of(content)
        if not weights:
            raise InputError(f"{path}: its state_dict is empty.")
        return cls(path, weights, epoch, step, _record_beside(path))

    @property
    def has_gate(self) -> bool:
        """Whether there is a gating head, which a run with `use_bayes: False` can have, too."""
        return "gating_head.0.weight" in self.weights

    @property
    def has_cifar_stem(self) -> bool:
        """Whether a ResNet begins with solo-learn's 3x3 convolution for CIFAR."""
        return self.is_resnet and self.weights["backbone.conv1.weight"].size(-1) == 3

    @property
    def classes(self) -> int | None:
        """Outputs of the online classifier."""
        classifier = self.weights.get("classifier.weight")
        return None if classifier is None else len(classifier)

    @property
    def is_resnet(self) -> bool:
        """Whether the backbone is torchvision's ResNet, the only one whose name weights tell."""
        return "backbone.layer1.0.conv1.weight" in self.weights

    def told(self) -> dict[str, Any]:
        """Settings that the shapes of the weights tell, by dotted key."""
        found: dict[str, Any] = {}
        if self.is_resnet:
            bottlenecks = "backbone.layer1.0.conv3.weight" in self.weights
            found["backbone.name"] = "resnet50" if bottlenecks else "resnet18"
        cifar = {10: "cifar10", 100: "cifar100"}.get(self.classes)
        if self.has_cifar_stem and cifar is not None:
            found["data.dataset"] = cifar
        layers = self._layers("projector")
        if layers:
            found["method_kwargs.proj_hidden_dim"] = len(layers[0])
            found["method_kwargs.proj_output_dim"] = len(layers[-1])
        return found

    def untold(self) -> list[str]:
        """Settings that codes depend on and the weights do not tell, by dotted key."""
        gateless = () if self.has_gate else GATE_SETTINGS
        return [key for key in UNTOLD if key not in (*self.told(), *gateless)]

    def gating_head_depth(self) -> int:
        """Linear layers of the gating head."""
        return len(self._layers("gating_head"))

    def weights_for(self, method: str) -> dict[str, Tensor]:
        """Without a gating head that the method does not use."""
        if method.startswith("bayesncl"):
            return self.weights
        return {k: v for k, v in self.weights.items() if not k.startswith("gating_head.")}

    def _layers(self, head: str) -> list[Tensor]:
        names = sorted(
            k for k in self.weights if k.startswith(f"{head}.") and k.endswith(".weight")
        )
        return [self.weights[name] for name in names]

    def settings(self) -> DictConfig | None:
        """The record under this package's names, None without one.

        Raises:
            InputError: if it is not laid out as solo-learn main's.
        """
        if self.record is None:
            return None
        beside = self.path.parent / "args.json"
        lacking = [name for name in SECTIONS if not isinstance(self.record.get(name), dict)]
        if lacking or not self.record.get("augmentations"):
            raise InputError(
                f"{beside} has no section {(*lacking, 'augmentations')[0]}: it is not laid out as "
                "the official code does. Give a recipe with --config-path and --config-name."
            )
        record = json.loads(json.dumps(self.record))
        kwargs = record["method_kwargs"]
        uses_gate = kwargs.pop("use_bayes", False) is True
        if record.get("method") == "ncl" and uses_gate:
            record["method"] = "bayesncl"
        known = METHODS.get(record.get("method"))
        if known is not None:
            record["method_kwargs"] = {k: v for k, v in kwargs.items() if k in known.model_fields}
        if record.get("method") == "bayesncl":
            record["method_kwargs"]["gating_head_depth"] = self.gating_head_depth()
        return OmegaConf.create(record)


def _record_beside(path: Path) -> dict[str, Any] | None:
    record = path.parent / "args.json"
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{record} is damaged: {error}. Mend it, or move it away.") from None
    if not isinstance(found, dict):
        raise InputError(f"{record} is damaged: it holds no settings. Mend it, or move it away.")
    return found
