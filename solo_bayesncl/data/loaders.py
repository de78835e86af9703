"""What is done to solo-learn's data sets and loaders before they are used. Torch only."""

from functools import cache
from typing import Any

from torch.utils.data import DataLoader, Dataset


class _IndexMixin:
    """Mixin, listed before a class of data sets, that puts an index in front: `(index, *sample)`.

    solo-learn has such a class, made within a function, so objects of it cannot be sent to loader
    processes that are not forked: on macOS and Windows, and anywhere since Python 3.14.
    """

    def __getitem__(self, index: int) -> tuple:
        return index, *super().__getitem__(index)

    def __reduce__(self) -> tuple:
        _, _, samples_class, *_ = type(self).__mro__
        return _restored, (samples_class, self.__dict__)


@cache
def _with_index(samples_class: type) -> type:
    return type(f"{samples_class.__name__}WithIndex", (_IndexMixin, samples_class), {})


def _restored(samples_class: type, state: dict[str, Any]) -> Dataset:
    samples = object.__new__(_with_index(samples_class))
    samples.__dict__.update(state)
    return samples


def portable(samples: Dataset) -> Dataset:
    """solo-learn's data set for pretraining, the same in all processes and on all machines.

    It can be pickled, and images without labels are listed by name, where solo-learn takes them in
    the order of the file system.
    """
    samples = _restored(type(samples).__base__, vars(samples))
    if hasattr(samples, "images"):
        samples.images.sort()
    return samples


def worker_options(loader: DataLoader) -> dict[str, Any]:
    """How a loader loads, as keyword arguments for another one.

    All but samples, batches and their order, to which `generator` and `in_order` belong.
    """
    return {
        name: getattr(loader, name)
        for name in (
            "num_workers",
            "collate_fn",
            "pin_memory",
            "timeout",
            "worker_init_fn",
            "multiprocessing_context",
            "prefetch_factor",
            "persistent_workers",
        )
    }
