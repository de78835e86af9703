"""Processes that stay for all tests: importing torch takes them seconds, a new group nothing."""

import pickle
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

SECONDS = 300


class ProcessPool:
    """One process per rank; more are started when a larger group is asked for."""

    def __init__(self):
        self._ranks: list[tuple] = []  # (process, connection to it)

    def run(
        self, function: Callable, *args: Any, world_size: int = 2, backend: str = "gloo"
    ) -> list:
        """What `function(rank, *args)` returns in each process of a new process group, by rank."""
        while len(self._ranks) < world_size:
            self._start()
        work = pickle.dumps((function, args))
        with tempfile.TemporaryDirectory() as folder:
            group = {"backend": backend, "init_method": f"file://{Path(folder) / 'store'}",
                     "world_size": world_size, "timeout": timedelta(seconds=SECONDS)}  # fmt: skip
            connections = [connection for _, connection in self._ranks[:world_size]]
            try:
                for connection in connections:
                    connection.send((work, group))
                results = []
                for connection in connections:
                    assert connection.poll(SECONDS), f"no answer in {SECONDS} s"
                    error, result = connection.recv()
                    assert error is None, error
                    results.append(pickle.loads(result))
            except BaseException:
                self.close()  # others may wait for the one that failed
                raise
        return results

    def _start(self) -> None:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        rank = len(self._ranks)
        process = context.Process(target=_serve, args=(rank, theirs), daemon=True)
        process.start()
        theirs.close()  # so that reading ends with the process
        self._ranks.append((process, ours))

    def close(self) -> None:
        for process, _ in self._ranks:
            process.kill()  # torch sometimes aborts while gloo's threads are shut down
        self._ranks.clear()


def _serve(rank: int, connection: Connection) -> None:
    torch.set_num_threads(1)
    groups = []  # kept, for the same reason
    while True:
        work, group = connection.recv()
        try:
            dist.init_process_group(rank=rank, **group)
            groups.append(dist.group.WORLD)
            function, args = pickle.loads(work)
            result = pickle.dumps(function(rank, *args))
            if group["world_size"] > 1:
                dist.barrier()  # none leaves while another needs it
            dist.destroy_process_group()
            connection.send((None, result))
        except Exception:
            connection.send((traceback.format_exc(), None))
