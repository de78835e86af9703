"""Checkpoints of the official code, a fork of solo-learn, and the settings they determine."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import Tensor

from solo_bayesncl import files, runs
from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes.method_kwargs import METHODS

# settings that codes depend on, most of which no weight reveals
CODE_SETTINGS = (
    "data.dataset",
    "augmentations.0.crop_size",
    "method_kwargs.non_neg",
    "method_kwargs.use_topk",
    "method_kwargs.topk_k",
    "method_kwargs.gate_type",
    "method_kwargs.sigmoid_temperature",
    "method_kwargs.gate_threshold",
)
GATE_SETTINGS = tuple(
    f"method_kwargs.{name}"
    for name in METHODS["bayesncl"].model_fields.keys() - METHODS["ncl"].model_fields.keys()
)
SECTIONS = ("backbone", "data", "optimizer", "scheduler", "method_kwargs")


@dataclass(frozen=True)
class OfficialCheckpoint:
    """A checkpoint of the official code.

    Attributes:
        path: the file.
        weights: the method's, by name.
        epoch, step: as in the file, None if it lacks them.
        record: the `args.json` beside it, None if there is none.
    """

    path: Path
    weights: dict[str, Tensor]
    epoch: int | None
    step: int | None
    record: dict[str, Any] | None

    @classmethod
    def read(cls, path: Path) -> "OfficialCheckpoint":
        """Reads the file without running code from it.

        Raises:
            InputError: if it or its record is damaged, or it is not a checkpoint.
        """
        content = runs.load_checkpoint(path, untrusted=True)
        numbers = [content.get(key) for key in ("epoch", "global_step")]
        epoch, step = (n if isinstance(n, int) else None for n in numbers)
        weights = runs.weights_of(content)
        if not weights:
            raise InputError(f"{path}: its state_dict is empty.")
        if "classifier.weight" not in weights:
            raise InputError(f"{path} lacks classifier.weight: it is not a whole checkpoint.")
        return cls(path, weights, epoch, step, _read_record(path.parent / "args.json"))

    @property
    def has_gate(self) -> bool:
        """Whether it has a gating head; one with `use_bayes: False` may have, too."""
        return "gating_head.0.weight" in self.weights

    @property
    def is_resnet(self) -> bool:
        """Whether the backbone is torchvision's ResNet, the only one that is recognised."""
        return "backbone.layer1.0.conv1.weight" in self.weights

    @property
    def has_cifar_stem(self) -> bool:
        """Whether a ResNet begins with solo-learn's 3x3 convolution for CIFAR."""
        return self.is_resnet and self.weights["backbone.conv1.weight"].size(-1) == 3

    @property
    def num_classes(self) -> int:
        """Outputs of the online classifier."""
        return len(self.weights["classifier.weight"])

    @property
    def gating_head_depth(self) -> int:
        """Number of linear layers of the gating head."""
        return len(self._widths("gating_head"))

    def _widths(self, head: str) -> list[int]:
        """Output widths of a head's linear layers."""
        names = [k for k in self.weights if k.startswith(f"{head}.") and k.endswith(".weight")]
        return [len(self.weights[name]) for name in sorted(names)]

    def inferred_settings(self) -> dict[str, Any]:
        """Settings that the shapes of the weights determine, by dotted key."""
        settings: dict[str, Any] = {}
        if self.is_resnet:
            bottlenecks = "backbone.layer1.0.conv3.weight" in self.weights
            settings["backbone.name"] = "resnet50" if bottlenecks else "resnet18"
        if self.has_cifar_stem and self.num_classes in (10, 100):
            settings["data.dataset"] = f"cifar{self.num_classes}"
        if widths := self._widths("projector"):
            settings["method_kwargs.proj_hidden_dim"] = widths[0]
            settings["method_kwargs.proj_output_dim"] = widths[-1]
        return settings

    def unknown_settings(self) -> list[str]:
        """Settings that codes depend on and the weights do not determine, by dotted key."""
        known = [*self.inferred_settings(), *(() if self.has_gate else GATE_SETTINGS)]
        return [key for key in CODE_SETTINGS if key not in known]

    def weights_for(self, method: str) -> dict[str, Tensor]:
        """Weights without a gating head that the method does not use."""
        if method.startswith("bayesncl"):
            return self.weights
        return {k: v for k, v in self.weights.items() if not k.startswith("gating_head.")}

    def recorded_settings(self) -> DictConfig | None:
        """The record under this package's names, None without a record.

        Raises:
            InputError: if its layout is not that of solo-learn main.
        """
        if self.record is None:
            return None
        missing = [name for name in SECTIONS if not isinstance(self.record.get(name), dict)]
        if missing or not self.record.get("augmentations"):
            raise InputError(
                f"{self.path.parent / 'args.json'} has no section "
                f"{(*missing, 'augmentations')[0]}: its layout is not that of the official code. "
                "Give a recipe with --config-path and --config-name."
            )
        settings = copy.deepcopy(self.record)
        uses_gate = settings["method_kwargs"].pop("use_bayes", False) is True
        if settings.get("method") == "ncl" and uses_gate:
            settings["method"] = "bayesncl"
        accepted = METHODS.get(settings.get("method"))
        if accepted is not None:
            kwargs = settings["method_kwargs"].items()
            settings["method_kwargs"] = {k: v for k, v in kwargs if k in accepted.model_fields}
        if settings.get("method") == "bayesncl":
            settings["method_kwargs"]["gating_head_depth"] = self.gating_head_depth
        return runs.recorded_settings(settings, self.path.parent / "args.json")


def _read_record(path: Path) -> dict[str, Any] | None:
    try:
        return files.read_json(path)
    except InputError as error:
        raise InputError(f"{error} Repair it, or move it away.") from error
