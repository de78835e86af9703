"""A trained model as a module from images to codes, and the description of one image's code."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from safetensors import SafetensorError, safe_open
from tabulate import tabulate
from torch import Tensor, nn

from solo_bayesncl import files, runs
from solo_bayesncl.data.images import ImageTransform, pixel_limit, read_image
from solo_bayesncl.errors import InputError
from solo_bayesncl.metrics import ACTIVE, apply_cut
from solo_bayesncl.objective import Encoding
from solo_bayesncl.precision import AS_TRAINED, autocast, check_precision, resolve_precision
from solo_bayesncl.runs.models import (
    build_model,
    encode_outputs,
    load_model,
    recorded_classes,
    training_classes,
)
from solo_bayesncl.text import printable

_logger = logging.getLogger(__name__)

# Parameters of an encoder; of some methods, codes are the predictor's outputs. The classifier and
# the momentum networks are not needed.
PARTS = ("backbone.", "projector.", "predictor.", "gating_head.")
# attributes of a cut, also in the metadata of exported files
CUT = ("code_length", "code_threshold")


@dataclass(frozen=True)
class Dimension:
    """One dimension of one image's code.

    Attributes:
        index: from 0.
        value: of the code, or of the normalised projection where the gate is closed.
        open_probability: the gate's posterior, 0 to 1; None without a gate.
        owner: class that it is mostly active on, None without a table of `explain` for codes of
            the same length.
    """

    index: int
    value: float
    open_probability: float | None = None
    owner: str | None = None


@dataclass(frozen=True)
class Description:
    """The dimensions that describe one image; as a string, two tables.

    Attributes:
        active: non-zero dimensions of the code, by decreasing magnitude.
        closed: active dimensions of the projection that the gate closed, in the same order.
    """

    active: tuple[Dimension, ...]
    closed: tuple[Dimension, ...]

    def __str__(self) -> str:
        parts = [f"{len(self.active)} active dimensions", _table(self.active)]
        if self.closed:
            parts += [f"{len(self.closed)} active dimensions that the gate closed"]
            parts += [_table(self.closed)]
        return "\n".join(parts)


def _table(dimensions: Sequence[Dimension]) -> str:
    columns = {
        "dimension": [str(d.index) for d in dimensions],
        "activation": [f"{d.value:.3f}" for d in dimensions],
        "P(open)": [d.open_probability and f"{d.open_probability:.2f}" for d in dimensions],
        "mostly": [d.owner and printable(d.owner) for d in dimensions],
    }
    known = {name: column for name, column in columns.items() if any(column)}
    return tabulate(known, headers="keys", disable_numparse=True, stralign="right")


class Encoder(nn.Module):
    """A trained model from images to codes, its gate without noise.

    Returned by `solo_bayesncl.load_encoder`. Gradients flow through it.

    Attributes:
        transform: PIL image to a normalised (3, H, W) tensor, as in evaluation
            (`solo_bayesncl.data.images.ImageTransform`).
        settings: the run's `args.json`.
        classes: names of the training classes, None if the training data are gone.
        precision: `auto` for that of the training, or one of `solo_bayesncl.precision.PRECISIONS`.
        code_length: active entries that codes are cut to, on average over the training images;
            None for codes as trained.
        code_threshold: magnitude that entries of such a code exceed, as `metrics.cut_threshold`
            returns it; None for codes as trained.
        model: solo-learn's method, from images to `feats`, `z` and, with a gate, `gate_logits`.
    """

    def __init__(
        self,
        model: nn.Module,
        cfg: DictConfig,
        classes: Sequence[str] | None = None,
        owners: Mapping[int, str | None] = MappingProxyType({}),
        precision: str = AS_TRAINED,
        code_length: float | None = None,
        code_threshold: float | None = None,
    ):
        """`owners`: class that a dimension is mostly active on, by index."""
        super().__init__()
        # torch cannot trace a LightningModule, so its parts are registered in its place
        self.__dict__["model"] = model.float()
        for name, part in model.named_children():
            self.add_module(name, part)
        self.eval()
        self.transform = ImageTransform(cfg)
        self.settings: dict[str, Any] = OmegaConf.to_container(cfg)
        self.classes = None if classes is None else tuple(classes)
        self.precision = precision
        self.code_length = code_length
        self.code_threshold = code_threshold
        self._owners = dict(owners)

    @classmethod
    def load(cls, path: str | Path, precision: str = AS_TRAINED) -> "Encoder":
        """`solo_bayesncl.load_encoder` with codes as trained, or as exported."""
        check_precision(precision)
        path = files.expand_home(path)
        if is_safetensors(path):
            # export compares in float32
            return cls._from_export(path, "32-true" if precision == AS_TRAINED else precision)
        return cls.of_run(runs.Run.open(path), precision)

    @classmethod
    def of_run(
        cls,
        run: runs.Run,
        precision: str = AS_TRAINED,
        code_length: float | None = None,
        code_threshold: float | None = None,
    ) -> "Encoder":
        """The encoder of a run; the other arguments are the attributes."""
        model = load_model(run)
        if names := runs.non_finite(model.state_dict()):
            message = "%s is of a model that diverged: %s is not finite"
            _logger.warning(message, run.checkpoint, names[0])
        classes = recorded_classes(run.folder) or training_classes(run.cfg)
        owners = _read_owners(run.folder, code_length)
        return cls(model, run.cfg, classes, owners, precision, code_length, code_threshold)

    @classmethod
    def _from_export(cls, path: Path, precision: str) -> "Encoder":
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                settings, classes = (json.loads(metadata[key]) for key in ("settings", "classes"))
                cut = {name: float(metadata[name]) for name in CUT if name in metadata}
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise InputError(
                f"{path} cannot be read as an encoder: {error}. Give a file that `solo-bayesncl "
                "export --format safetensors` has written, a .ckpt file or the folder of a run."
            ) from error
        cfg = runs.recorded_settings(settings, path)
        model = build_model(cfg, path)
        missing = [n for n in model.state_dict() if n.startswith(PARTS) and n not in weights]
        if missing:
            raise InputError(f"{path} lacks {', '.join(missing[:3])}: it is not a whole encoder.")
        runs.fill_module(model, {**model.state_dict(), **weights}, path)
        return cls(model, cfg, classes, precision=precision, **cut)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (N, 3, H, W) to codes (N, D), float32, rows of length 1 or 0."""
        return self.encode(images).codes.float()

    def encode(self, images: Tensor, cut: bool = True) -> Encoding:
        """Codes with the projections, open-probabilities and gate values that they come from.

        Args:
            images: (N, 3, H, W), normalised.
            cut: whether to cut the codes to `code_length`, if that is given.
        """
        trained = self.settings.get("precision")
        precision = resolve_precision(self.precision, trained, images.device)
        with autocast(precision, images.device):
            encoding = encode_outputs(self.model, self.model(images))
        if not (cut and self.code_threshold):  # nothing is cut at 0, a length that is not reached
            return encoding
        return replace(encoding, codes=apply_cut(encoding.codes, self.code_threshold))

    @torch.no_grad()
    def describe(self, image: str | Path | Image.Image | Tensor) -> Description:
        """The dimensions that describe an image, and those that the gate closed.

        Args:
            image: file, PIL image, or a normalised (3, H, W) tensor as returned by `transform`.

        Raises:
            InputError: for a file that is not an image, a tensor of another shape, or a code with
                values that are not finite.
        """
        if isinstance(image, str | Path):
            with pixel_limit(self.settings["data"].get("max_image_pixels")):
                image = read_image(files.expand_home(image))
        if isinstance(image, Image.Image):
            image = self.transform(image)
        if image.dim() != 3 or image.size(0) != 3:
            raise InputError(
                f"image: a tensor of shape {tuple(image.shape)} was given. Give one image, "
                "normalised, of shape (3, H, W)."
            )
        device = next(self.parameters()).device
        encoding = self.encode(image[None].to(device))
        if not encoding.codes.isfinite().all():
            raise InputError("The code of this image is not finite: the model diverged.")
        probs, mask = encoding.probs, encoding.mask

        def dimensions(values: Tensor, closed: bool = False) -> tuple[Dimension, ...]:
            return tuple(
                Dimension(
                    index=i,
                    value=float(values[i]),
                    open_probability=None if probs is None else float(probs[0, i]),
                    owner=self._owners.get(i),
                )
                for i in strongest(values)
                if not closed or mask[0, i] == 0
            )

        return Description(
            active=dimensions(encoding.codes[0]),
            closed=() if mask is None else dimensions(encoding.projections[0], closed=True),
        )


def strongest(values: Tensor) -> list[int]:
    """Indices of the active entries of a (D,) row, of either sign, by decreasing magnitude."""
    strength = values.abs()
    order = strength.argsort(descending=True, stable=True).tolist()
    return [index for index in order if strength[index] > ACTIVE]


def _read_owners(folder: Path, code_length: float | None) -> dict[int, str | None]:
    """Class that each dimension is mostly active on, if `explain` has written its table.

    A table for codes of another length may name other classes.
    """
    try:
        table = files.read_json(folder / "dimensions.json") or {}
        if table.get("code_length") != code_length:
            return {}
        named = {None: None, **dict(enumerate(table["classes"]))}
        return {d["index"]: named[d["owner"]] for d in table["dimensions"]}
    except (InputError, KeyError, TypeError):  # damaged, or there is none
        return {}


def is_safetensors(path: Path) -> bool:
    """By the suffix, or by the first bytes: the size of a JSON header, then the header."""
    try:
        with path.open("rb") as file:
            return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"
    except OSError:  # a folder, or nothing
        return False
