"""What the processes of one run share: its layout, decisions, validation images, batch norm."""

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
from torch import nn
from torch.utils.data import DataLoader

from solo_bayesncl.adapters import adapter
from solo_bayesncl.data.loaders import worker_options
from solo_bayesncl.errors import InputError
from solo_bayesncl.recipes import number_of_processes
from solo_bayesncl.training.sync_batchnorm import desynchronise, synchronise

# as long as torch waits for processes with GPUs to meet
_PATIENCE = timedelta(minutes=10)
_meetings = itertools.count()


def require_as_started(cfg: DictConfig) -> None:
    """Refuses settings that are not those of the launcher that started this process, if one did.

    Lightning would train alone in every process, or wait for processes that do not come.

    Raises:
        InputError: if torchrun or srun has started another number of processes.
    """
    launcher, started = _launcher()
    if started not in (None, number_of_processes(cfg)):
        raise InputError(
            f"{launcher} has started {started} process(es), but devices={len(cfg.devices)} "
            f"num_nodes={cfg.get('num_nodes') or 1}. Set devices to the processes on a node and "
            "num_nodes to the nodes."
        )


def _launcher() -> tuple[str, int | None]:
    """(name, number of processes on all nodes) of what has started this process, if known."""
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
    """What the first process decides, in all of them, however they were started.

    They meet where their process group will, before it exists: Lightning makes it, and may start
    further processes, within `fit`. So that must be called inside of this context.

    Args:
        trainer: Lightning's, not yet fitting.
        decide: called in the first process only; gives what JSON can hold.

    Raises:
        InputError: if the first process is not found or gave up.
    """
    if trainer.world_size == 1:
        yield decide()
        return
    environment = trainer.strategy.cluster_environment
    first = trainer.global_rank == 0
    address, port = environment.main_address, environment.main_port
    meeting = f"solo_bayesncl/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}/{next(_meetings)}"
    try:
        # torch's own, created in the same way, will be another client or share this one's server
        store = dist.TCPStore(
            address,
            port,
            is_master=first and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True",
            timeout=_PATIENCE,
            wait_for_workers=False,
            multi_tenant=True,
        )
        if first:
            store.set(meeting, json.dumps(decide()))
        decision = json.loads(store.get(meeting))
    except dist.DistError as error:
        raise InputError(
            f"The first process, at {address}:{port}, is not found or gave up: see its messages. "
            "Over several nodes, MASTER_ADDR and MASTER_PORT must be the same on all of them and "
            "NODE_RANK count them from 0; torchrun and srun see to that."
        ) from error
    yield decision  # the store lives on meanwhile: it may be the server


class SyncBatchNorm(adapter().pl.plugins.LayerSync):
    """Batch norm over all processes on the CPU; that of torch, and so Lightning's, needs GPUs."""

    def apply(self, model: nn.Module) -> nn.Module:
        return synchronise(model)

    def revert(self, model: nn.Module) -> nn.Module:
        return desynchronise(model)


class _Share:
    """Batches of indexes: every image in one process, as many batches in each of them.

    Lightning would repeat images to make the shares equal. Steps must be equally many, since
    DDP synchronises buffers in each.
    """

    def __init__(self, images: int, batch_size: int, rank: int, world_size: int):
        share = range(rank, images, world_size)
        count = math.ceil(math.ceil(images / world_size) / batch_size)
        if images // world_size < count:  # one would be empty: all images in every process
            share, count = range(images), math.ceil(images / batch_size)
        self.batches = [part.tolist() for part in np.array_split(share, count)]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)


def share_of(loader: DataLoader, trainer: Any) -> DataLoader:
    """The part of a validation loader that is this process's.

    Shares differ by one image where their number does not divide that of the images, so means over
    them are to be weighted.
    """
    if trainer.world_size == 1:
        return loader
    return DataLoader(
        loader.dataset,
        batch_sampler=_Share(
            len(loader.dataset), loader.batch_size, trainer.global_rank, trainer.world_size
        ),
        **worker_options(loader),
    )
