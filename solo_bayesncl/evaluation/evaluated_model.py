"""A trained model with its outputs for a data set, and what several results are computed from."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset

from solo_bayesncl.data.unreadable import UnreadableImages
from solo_bayesncl.evaluation import probes
from solo_bayesncl.evaluation.devices import Result, on_device
from solo_bayesncl.evaluation.factors import Factor
from solo_bayesncl.evaluation.forward import Outputs
from solo_bayesncl.evaluation.health import warnings_of
from solo_bayesncl.evaluation.options import Options
from solo_bayesncl.evaluation.training_split import TrainingSplit
from solo_bayesncl.metrics import Monosemanticity, mutual_information
from solo_bayesncl.metrics.monosemanticity import monosemanticities
from solo_bayesncl.runs import Run


@dataclass(frozen=True)
class EvaluatedModel:
    """A trained model and its outputs for both splits of a data set.

    Attributes:
        run: the run it comes from.
        options: of the evaluation.
        model: in evaluation mode.
        val: outputs for the validation split.
        train: what is kept of those for the training split, without augmentation.
        images: the validation split.
        classes: class names by label, none for images without labels, whose label is -1.
        embeddings: (M, E) of the validation split, the reference for monosemanticity.
        factors: of the validation split.
        classifier_fits: whether the online classifier was trained on `classes`.
        precision: in which the model ran.
        unreadable: images of both splits that are left out everywhere above.
        optimizer_steps: done before the checkpoint, None if it does not hold their number.
        control: what was fitted to the model and gives the codes, see `controls.fit_control`; None
            where they are the model's own.
    """

    run: Run
    options: Options
    model: nn.Module
    val: Outputs
    train: TrainingSplit
    images: Dataset
    classes: tuple[str, ...]
    embeddings: Tensor
    factors: dict[str, Factor]
    classifier_fits: bool
    precision: str
    unreadable: UnreadableImages
    optimizer_steps: int | None
    control: dict[str, Any] | None = None

    @property
    def is_labelled(self) -> bool:
        """Whether the images have classes."""
        return bool(self.classes)

    @cached_property
    def spaces(self) -> dict[str, Tensor]:
        """`Outputs.spaces` of the validation split."""
        return self.val.spaces

    @cached_property
    def not_finite(self) -> frozenset[str]:
        """Spaces that hold NaN or infinities in either split."""
        return self.train.not_finite | (self.spaces.keys() - self._finite_spaces.keys())

    @cached_property
    def warnings(self) -> list[str]:
        """Sentences on what makes the numbers worthless; none for a healthy model."""
        return warnings_of(self)

    @cached_property
    def monosemanticity(self) -> dict[str, Monosemanticity]:
        """By space; only for finite ones, and only if the reference is finite."""
        spaces = self._finite_spaces
        if not spaces or not probes.are_finite(self.embeddings):
            return {}
        scores = self.on_device(
            lambda embeddings, *values: monosemanticities(values, embeddings),
            self.embeddings,
            *spaces.values(),
        )
        return dict(zip(spaces, scores, strict=True))

    @cached_property
    def information(self) -> dict[str, dict[str, Tensor]]:
        """By factor and finite space: `mutual_information` (D,) of each dimension with it."""
        return {
            name: {
                space: self.on_device(mutual_information, factor.select(values), factor.levels)
                for space, values in self._finite_spaces.items()
            }
            for name, factor in self.factors.items()
        }

    @cached_property
    def _finite_spaces(self) -> dict[str, Tensor]:
        return {s: values for s, values in self.spaces.items() if probes.are_finite(values)}

    def on_device(self, compute: Callable[..., Result], *tensors: Tensor) -> Result:
        """`compute(*tensors)` on the device of the evaluation, see `devices.on_device`."""
        return on_device(self.options.torch_device, compute, *tensors)
