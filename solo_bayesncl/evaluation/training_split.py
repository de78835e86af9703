"""What an evaluation keeps of the training split, whose outputs may not fit into memory."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice
from math import nan

import torch
from torch import Tensor

from solo_bayesncl.evaluation import probes
from solo_bayesncl.evaluation.forward import Outputs
from solo_bayesncl.evaluation.neighbours import Neighbours

SPACES = {"backbone": "feats", "codes": "codes"}  # name of the space -> of the output


@dataclass(frozen=True)
class TrainingSplit:
    """What is kept of the outputs for a training split.

    Attributes:
        codes: (R, D) of the images that `probes.training_rows` chooses, on the CPU, in their order.
        feats: (R, F) backbone features of these images.
        labels: (R,) int64 of these images.
        order: (D,) dimensions of the codes, those of largest mean activation on all images first.
        knn_accuracy: space -> percent for the validation split, nan where undefined.
        not_finite: spaces that hold NaN or infinities.
    """

    codes: Tensor
    feats: Tensor
    labels: Tensor
    order: Tensor
    knn_accuracy: dict[str, float]
    not_finite: frozenset[str]


def training_split(
    batches: Iterable[tuple[Mapping[str, Tensor], Tensor, Tensor]],
    all_labels: Tensor,
    val: Outputs,
    device: torch.device,
) -> TrainingSplit:
    """Reduces the outputs for a training split, batch by batch.

    Holds, on the device, the outputs of at most `probes.MAX_ROWS` images and what `Neighbours`
    does, however many batches there are.

    Args:
        batches: outputs, by the names of `Outputs`; labels; and indexes, on the CPU, of the images
            among those of `all_labels`. Images may be missing.
        all_labels: (N,) int, of all images, on the CPU.
        val: outputs for the validation split.
        device: where to compute.
    """
    chosen = torch.zeros(len(all_labels), dtype=torch.bool)
    chosen[probes.training_rows(all_labels)] = True
    neighbours = Neighbours(
        {space: getattr(val, output).to(device) for space, output in SPACES.items()}, val.labels
    )
    sums = dict.fromkeys(SPACES, 0)
    chosen_rows: dict[str, list[Tensor]] = {space: [] for space in SPACES}
    chosen_labels = []
    for outputs, labels, indexes in batches:
        rows = {space: outputs[output].to(device) for space, output in SPACES.items()}
        neighbours.update(rows, labels)
        for space, values in rows.items():
            # in float64, in which finite values of float32 do not overflow
            sums[space] = sums[space] + values.sum(dim=0, dtype=torch.float64)
        places = chosen[indexes].nonzero().squeeze(1)
        for space, values in rows.items():
            chosen_rows[space].append(values[places.to(device, non_blocking=True)])
        chosen_labels.append(labels[places])
    not_finite = {space for space, total in sums.items() if not total.isfinite().all()}
    return TrainingSplit(
        codes=torch.cat(chosen_rows["codes"]).cpu(),
        feats=torch.cat(chosen_rows["backbone"]).cpu(),
        labels=torch.cat(chosen_labels),
        order=sums["codes"].argsort(descending=True, stable=True).cpu(),
        knn_accuracy={
            space: nan if space in not_finite else accuracy
            for space, accuracy in neighbours.accuracies().items()
        },
        not_finite=frozenset(not_finite),
    )


def with_indexes(
    batches: Iterable[tuple[Mapping[str, Tensor], Tensor]], left_out: Collection[int]
) -> Iterator[tuple[Mapping[str, Tensor], Tensor, Tensor]]:
    """Outputs and labels of images in their order, with the indexes of the images.

    Args:
        batches: outputs and labels.
        left_out: indexes of images that could not be read, up to the current batch or beyond it.
    """
    indexes = (index for index in count() if index not in left_out)
    for outputs, labels in batches:
        yield outputs, labels, torch.tensor(list(islice(indexes, len(labels))))
