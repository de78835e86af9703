"""What the ranks of a run share: decisions of rank zero and validation images."""

import itertools
import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch.distributed as dist
from omegaconf import DictConfig
from torch.utils.data import DataLoader

from solo_bayesncl.adapters import adapter
from solo_bayesncl.data.loaders import worker_options
from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes.machine import number_of_processes

# torch's own for process groups of GPUs
_TIMEOUT = timedelta(minutes=10)
_rounds = itertools.count()


def require_launched_as_configured(cfg: DictConfig) -> None:
    """Raises `InputError` if torchrun or srun has launched another world size than configured.

    Lightning would train alone in every process, or wait for ranks that never join.
    """
    launcher, started = _launcher()
    if started not in (None, number_of_processes(cfg)):
        raise InputError(
            f"{launcher} has started {started} process(es), but devices={len(cfg.devices)} "
            f"num_nodes={cfg.get('num_nodes') or 1}. Set devices to the processes on a node and "
            "num_nodes to the nodes."
        )


def _launcher() -> tuple[str, int | None]:
    """(launcher, world size) of this process; the world size is None if it was not launched."""
    if dist.is_available() and dist.is_torchelastic_launched():
        return "torchrun", int(os.environ["WORLD_SIZE"])
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS")  # of srun; a batch script alone has none
    # within an interactive job Lightning starts the processes itself
    slurm = adapter().pl.trainer.connectors.accelerator_connector.SLURMEnvironment
    return "srun", int(tasks) if tasks is not None and slurm.detect() else None


@contextmanager
def broadcast_from_rank_zero(
    trainer: Any, decide: Callable[[], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Decides on rank zero and yields the decision on every rank, however ranks are launched.

    Ranks exchange it through a TCPStore at MASTER_ADDR:MASTER_PORT, because Lightning creates the
    process group, and may launch further ranks, inside `fit`; call that inside of this context.

    Args:
        trainer: Lightning's, not yet fitting.
        decide: called on rank zero only; returns what JSON can hold.

    Raises:
        InputError: if rank zero cannot be reached or failed.
    """
    if trainer.world_size == 1:
        yield decide()
        return
    environment = trainer.strategy.cluster_environment
    first = trainer.global_rank == 0
    address, port = environment.main_address, environment.main_port
    key = f"solo_bayesncl/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}/{next(_rounds)}"
    try:
        # torch's own, created in the same way, will be another client or share this one's server
        store = dist.TCPStore(
            address,
            port,
            is_master=first and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True",
            timeout=_TIMEOUT,
            wait_for_workers=False,
            multi_tenant=True,
        )
        if first:
            store.set(key, json.dumps(decide()))
        decision = json.loads(store.get(key))
    except dist.DistError as error:
        raise InputError(
            f"Rank zero, at {address}:{port}, cannot be reached or failed: see its messages. "
            "Over several nodes, MASTER_ADDR and MASTER_PORT must be the same on all of them and "
            "NODE_RANK count them from 0; torchrun and srun see to that."
        ) from error
    yield decision  # inside this function, as `store` may be the server


def share_of(loader: DataLoader, trainer: Any) -> DataLoader:
    """This process's share of a validation loader: every image in one process.

    Lightning would repeat images to make the shares equal. Here they may differ by one image, so
    means over processes must be weighted. The number of batches is the same in every process, since
    DDP synchronises buffers at each.
    """
    images, processes = len(loader.dataset), trainer.world_size
    if processes == 1:
        return loader
    share = range(trainer.global_rank, images, processes)
    count = math.ceil(math.ceil(images / processes) / loader.batch_size)
    if images // processes < count:  # a batch would be empty: all images in every process
        share, count = range(images), math.ceil(images / loader.batch_size)
    batches = [part.tolist() for part in np.array_split(share, count)]
    return DataLoader(loader.dataset, batch_sampler=batches, **worker_options(loader))
