"""What is kept of the training split, whatever its size, says what all of its outputs say."""

import gc
from functools import partial

import pytest
import torch
from conftest import make_images
from torch import Tensor

from solo_bayesncl.adapters.shared import labels_of
from solo_bayesncl.data.folders import ClassFolder
from solo_bayesncl.evaluation import neighbours, probes
from solo_bayesncl.evaluation.forward import Outputs
from solo_bayesncl.evaluation.training_split import training_split, with_indexes

CPU = torch.device("cpu")
BATCH = 16


def outputs(labels: Tensor) -> dict[str, Tensor]:
    """Of images with these labels: 6 features, 4-dimensional codes."""
    noise = torch.rand(len(labels), 10, generator=torch.Generator().manual_seed(len(labels)))
    feats, codes = noise.split([6, 4], dim=1)
    return {"feats": feats, "codes": codes * torch.tensor([0.1, 0.4, 0.2, 0.3])}


@pytest.fixture
def val() -> Outputs:
    labels = torch.arange(12) % 3
    return Outputs(**outputs(labels), labels=labels)


@pytest.fixture
def few_rows(monkeypatch):
    """Probes take 30 images."""
    monkeypatch.setattr(probes, "training_rows", partial(probes.training_rows, most=30))


def by_batch(labels: Tensor, change=lambda batch: batch):
    for part in labels.split(BATCH):
        yield change(outputs(part)), part


def test_rows_for_the_probes_are_those_chosen_among_all(val, few_rows):
    labels = torch.arange(100) % 3
    found = training_split(with_indexes(by_batch(labels), ()), labels, val, CPU)
    rows = probes.training_rows(labels).sort().values
    assert len(rows) == 30
    for name in ("codes", "feats"):
        everything = torch.cat([batch[name] for batch, _ in by_batch(labels)])
        assert torch.equal(getattr(found, name), everything[rows])
    assert torch.equal(found.labels, labels[rows])


def test_dimensions_are_ranked_by_all_images_not_by_the_chosen_ones(val, few_rows):
    labels = torch.arange(100) % 3
    chosen = torch.zeros(100, dtype=torch.bool)
    chosen[probes.training_rows(labels)] = True
    codes = torch.where(chosen[:, None], torch.tensor([3.0, 2, 1, 0]), torch.tensor([0.0, 1, 2, 9]))
    batches = ((outputs(part) | {"codes": c}, part) for c, part in zip(
        codes.split(BATCH), labels.split(BATCH), strict=True
    ))  # fmt: skip
    found = training_split(with_indexes(batches, ()), labels, val, CPU)
    assert found.order.tolist() == codes.mean(dim=0).argsort(descending=True).tolist()
    assert found.order.tolist() != found.codes.mean(dim=0).argsort(descending=True).tolist()


def test_images_that_were_not_read_leave_the_choice_of_the_others_as_it_is(val, few_rows):
    """The indexes of a batch's images are known although it has fewer of them."""
    labels = torch.arange(100) % 3
    left_out = {0, 17, 18, *range(32, 48), 99}
    codes = torch.rand(100, 4)

    def batches():
        for indexes in torch.arange(100).split(BATCH):
            read = torch.tensor([i for i in indexes.tolist() if i not in left_out])
            if len(read):
                yield {"feats": torch.rand(len(read), 6), "codes": codes[read]}, labels[read]

    found = training_split(with_indexes(batches(), left_out), labels, val, CPU)
    expected = [i for i in sorted(probes.training_rows(labels).tolist()) if i not in left_out]
    assert torch.equal(found.codes, codes[expected])
    assert torch.equal(found.labels, labels[expected])


@pytest.mark.parametrize(
    ("name", "space"), [("codes", "codes"), ("feats", "backbone")], ids=["codes", "features"]
)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_one_value_that_is_not_finite_is_noticed(val, name, space, value):
    def spoil(batch):
        if len(batch["codes"]) < BATCH:  # the last one
            batch[name][1, 2] = value
        return batch

    labels = torch.arange(100) % 3
    found = training_split(with_indexes(by_batch(labels, spoil), ()), labels, val, CPU)
    assert found.not_finite == {space}
    undefined = {name for name, value in found.knn_accuracy.items() if value != value}
    assert undefined == {space}


def test_what_is_held_does_not_grow_with_the_images(val, few_rows, monkeypatch):
    monkeypatch.setattr(neighbours, "_BLOCK_ROWS", 64)

    def held_at_the_last_batch(count: int) -> int:
        """Bytes of all tensors but the labels of all images, and whether each is chosen."""
        labels = torch.arange(count) % 3
        sizes = []

        def measure(batch):
            if len(sizes) == count // BATCH - 1:
                storages = [x.untyped_storage() for x in gc.get_objects() if type(x) is Tensor]
                by_place = {storage.data_ptr(): storage.nbytes() for storage in storages}
                sizes.append(sum(by_place.values()) - labels.nbytes - count)
            else:
                sizes.append(None)
            return batch

        training_split(with_indexes(by_batch(labels, measure), ()), labels, val, CPU)
        return sizes[-1]

    few, many = held_at_the_last_batch(400), held_at_the_last_batch(4000)
    assert abs(many - few) < 1000  # 3600 more outputs have 144 000


def test_labels_are_known_before_images_are_read(tmp_path, cifar10):
    from torchvision.datasets import CIFAR10

    make_images(tmp_path / "train", classes=3, per_class=2)
    assert labels_of(ClassFolder(tmp_path / "train")).tolist() == [0, 0, 1, 1, 2, 2]
    images = CIFAR10(cifar10)
    assert labels_of(images).tolist() == [label for _, label in images]
