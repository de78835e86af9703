"""Processes that stay for all tests: importing torch takes them seconds, a new group nothing."""

import os
import pickle
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

# kept, as torch sometimes aborts while gloo's threads are shut down
_groups: list[dist.ProcessGroup] = []


class ProcessPool:
    """One process per rank; more are started when a larger group is asked for."""

    def __init__(self):
        self._ranks: list[ProcessPoolExecutor] = []

    def run(self, function: Callable, *args: Any, world_size: int = 2, backend: str = "gloo"):
        """What `function(rank, *args)` returns in each process of a new process group, by rank."""
        while len(self._ranks) < world_size:
            self._ranks.append(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
        work = pickle.dumps((function, args))
        with tempfile.TemporaryDirectory() as folder:
            store = f"file://{Path(folder) / 'store'}"
            results = [
                process.submit(_in_group, work, store, rank, world_size, backend)
                for rank, process in enumerate(self._ranks[:world_size])
            ]
            return [pickle.loads(result.result(timeout=300)) for result in results]

    def close(self) -> None:
        for process in self._ranks:
            process.submit(os._exit, 0)  # past the shutdown of gloo's threads
            process.shutdown(wait=False)


def _in_group(work: bytes, store: str, rank: int, world_size: int, backend: str) -> bytes:
    torch.set_num_threads(1)
    timeout = timedelta(minutes=3)
    dist.init_process_group(
        backend, init_method=store, rank=rank, world_size=world_size, timeout=timeout
    )
    _groups.append(dist.group.WORLD)
    try:
        function, args = pickle.loads(work)
        result = pickle.dumps(function(rank, *args))
        if world_size > 1:
            dist.barrier()  # no process leaves while another needs it
        return result
    finally:
        dist.destroy_process_group()
