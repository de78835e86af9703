"""Time and memory of InfoNCE in 1, 2, 4 and 8 processes that share their rows over gloo.

    python benchmarks/processes.py [--rows 512] [--dims 256] [--tiny]

Every process has the same number of rows, as with a fixed batch size per GPU, so the candidates
grow with the number of processes. Times are processor seconds of one process (one thread), because
the processes outnumber the cores; what a process waits for others is not in them. Memory is the
peak of one process beyond what it held before.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from ratios import Row, panel, peak_memory, write_rows
from torch.nn.functional import normalize

from solo_bayesncl.losses import gather, info_nce

STEPS = 8


def measure(rank: int, world_size: int, folder: str, shape: tuple[int, int]) -> None:
    """Writes (ms of the loss, ms of its collectives, MB) of one process to the folder."""
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, world_size=world_size, rank=rank)
    torch.manual_seed(rank)
    z = normalize(torch.randn(shape)).requires_grad_()
    indexes = torch.arange(shape[0] // 2).repeat(2) + rank * shape[0]

    def loss() -> None:
        info_nce(z, indexes).backward()

    def collectives() -> None:
        candidates, _ = gather(z, indexes)
        candidates.sum().backward()

    found = [milliseconds(loss), milliseconds(collectives), peak_memory(loss) / 2**20]
    torch.save(found, f"{folder}/{rank}")
    dist.destroy_process_group()


def milliseconds(step: Callable[[], None]) -> float:
    """Median of the processor time of a step, without the first."""
    times = []
    for _ in range(STEPS + 1):
        start = time.process_time()
        step()
        times.append(1000 * (time.process_time() - start))
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=512, help="views x batch of one process")
    parser.add_argument("--dims", type=int, default=256)
    parser.add_argument("--tiny", action="store_true", help="1 and 2 processes of 16 rows")
    args = parser.parse_args()
    shape = (16, 8) if args.tiny else (args.rows, args.dims)
    points = []
    for world_size in (1, 2) if args.tiny else (1, 2, 4, 8):
        with tempfile.TemporaryDirectory() as folder:
            mp.spawn(measure, (world_size, folder, shape), nprocs=world_size)
            found = [torch.load(Path(folder, str(rank))) for rank in range(world_size)]
        loss, collectives, memory = (
            statistics.median(column) for column in zip(*found, strict=True)
        )
        point = {"processes": world_size, "ms": loss, "collectives_ms": collectives, "MB": memory}
        points.append(point)
    first, last = points[0], points[-1]
    growth = last["processes"]
    note = f"{shape[0]} x {shape[1]} a process, {growth} processes; 1: {first['ms']:.1f} ms"
    rows = [
        Row("time of InfoNCE per candidate, of one process's", last["ms"] / first["ms"] / growth,
            note=f"{note}, {growth}: {last['ms']:.1f} ms"),
        Row("share of the collectives in it", 100 * last["collectives_ms"] / last["ms"], unit="%"),
        Row("memory per candidate, of one process's", last["MB"] / max(first["MB"], 0.1) / growth,
            note=f"1: {first['MB']:.1f} MB, {growth}: {last['MB']:.1f} MB"),
    ]  # fmt: skip

    of_processes = partial(panel, x="processes", points=points)
    growth = [
        of_processes("CPU time of one process", y="ms", InfoNCE="ms", collectives="collectives_ms"),
        of_processes("Memory of one process", y="MB", InfoNCE="MB"),
    ]
    write_rows("processes", rows, growth=growth)


if __name__ == "__main__":
    main()
