"""How solo-learn's loaders load. Torch only."""

from typing import Any

from torch.utils.data import DataLoader


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
