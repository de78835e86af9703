"""Options of a loader that do not depend on its data set."""

from typing import Any

from torch.utils.data import DataLoader


def worker_options(loader: DataLoader) -> dict[str, Any]:
    """The worker settings of a loader, as keyword arguments for another one.

    Samples, batches and their order (`generator`, `in_order`) are not among them.
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
