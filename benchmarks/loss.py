"""Time and memory of `info_nce` against solo-learn's loss and a cross-entropy, by rows and width.

    python benchmarks/loss.py [--threads 1] [--tiny]

Each takes raw outputs of a projector, scales the rows to unit length, and computes the loss and its
gradient, for two views. The losses take turns in one process; times are process time, which counts
all threads, and ratios are medians over rounds. Memory is the peak of the process beyond what it
holds before. The objectives of NCL and BayesNCL, which also have the non-negative head and the
gate, are compared with solo-learn's loss. The share of `gather` is wall time of two processes.
"""

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from ratios import Row, alternate, panel, peak_memory, ratio, write_rows
from torch import Tensor
from torch.multiprocessing import spawn

from solo_bayesncl.adapters import adapter
from solo_bayesncl.losses import gather, info_nce
from solo_bayesncl.objective import bayesncl_objective, ncl_objective

TEMPERATURE = 0.2
GATE = {
    "prior_prob": 0.8,
    "kl_lambda": 3e-5,
    "gate_type": "STE",
    "gate_temperature": 1.0,
    "gate_threshold": 0.5,
}
OURS, SOLO_LEARN, CROSS_ENTROPY = "info_nce", "solo-learn", "cross-entropy"
ROWS, DIMS = (512, 1024, 2048, 4096, 8192), (128, 256, 512, 1024, 2048, 4096)
LARGE = ((4096, 256), (8192, 256))
SMALL = ((512, 256), (512, 2048))


def own_loss(z: Tensor, indexes: Tensor) -> Tensor:
    return info_nce(F.normalize(z, dim=1), indexes, TEMPERATURE)


def solo_learn_loss(z: Tensor, indexes: Tensor) -> Tensor:
    from solo.losses.simclr import simclr_loss_func

    if adapter().NAME == "solo-learn main":
        return simclr_loss_func(z, indexes=indexes, temperature=TEMPERATURE)
    return simclr_loss_func(*z.chunk(2), temperature=TEMPERATURE)


def cross_entropy(z: Tensor, indexes: Tensor) -> Tensor:
    """NT-Xent as a classification of the other view."""
    z = F.normalize(z, dim=1)
    logits = (z @ z.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    return F.cross_entropy(logits, torch.arange(len(z)).roll(len(z) // 2))


def ncl(z: Tensor, indexes: Tensor) -> Tensor:
    return ncl_objective(z, indexes, non_neg="rep_relu", temperature=TEMPERATURE).total


def bayesncl(z: Tensor, indexes: Tensor, gate_logits: Tensor) -> Tensor:
    options = {"non_neg": "rep_relu", "temperature": TEMPERATURE, **GATE}
    return bayesncl_objective(z, gate_logits, indexes, **options).total


LOSSES = {OURS: own_loss, SOLO_LEARN: solo_learn_loss, CROSS_ENTROPY: cross_entropy}


def inputs(rows: int, dims: int) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, dims, requires_grad=True), torch.arange(rows // 2).repeat(2)


def step(loss: Callable[..., Tensor], z: Tensor, *args: Tensor) -> None:
    """Forward and backward pass."""
    z.grad = None
    loss(z, *args).backward()


def measure(rows: int, dims: int) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Name of a loss -> seconds of each round, and name -> peak bytes."""
    data = inputs(rows, dims)
    steps = {name: partial(step, loss, *data) for name, loss in LOSSES.items()}
    rounds = 5 if rows * rows * dims > 2**31 else 21
    times = alternate(steps, rounds, clock=time.process_time)
    return times, {name: peak_memory(call) for name, call in steps.items()}


def goals(measured: dict) -> Iterator[Row]:
    """The rows of the table that have a goal."""
    for size in LARGE:
        if size in measured:
            times, memory = measured[size]
            what = f"info_nce against solo-learn's loss, {size[0]} x {size[1]}"
            value, spread = ratio(times[OURS], times[SOLO_LEARN])
            milliseconds = f"{1000 * statistics.median(times[OURS]):.3g} ms"
            yield Row(f"{what}: time", value, spread, goal=0.6, note=milliseconds)
            megabytes = f"{memory[OURS] / 2**20:.3g} MB"
            share = memory[OURS] / memory[SOLO_LEARN]
            yield Row(f"{what}: memory", share, goal=0.25, note=megabytes)
    for size in SMALL:
        if size in measured:
            times, _ = measured[size]
            faster = min(
                (SOLO_LEARN, CROSS_ENTROPY), key=lambda name: statistics.median(times[name])
            )
            what = f"info_nce against the faster of both, {size[0]} x {size[1]}: time"
            value, spread = ratio(times[OURS], times[faster])
            yield Row(what, value, spread, goal=1.0, note=f"the faster: {faster}")


def objectives(rows: int, dims: int) -> Iterator[Row]:
    """The whole objectives against solo-learn's loss."""
    z, indexes = inputs(rows, dims)
    steps = {
        SOLO_LEARN: partial(step, solo_learn_loss, z, indexes),
        "NCL": partial(step, ncl, z, indexes),
        "BayesNCL": partial(step, bayesncl, z, indexes, torch.randn_like(z).requires_grad_()),
    }
    times = alternate(steps, 21, clock=time.process_time)
    for name in ("NCL", "BayesNCL"):
        value, spread = ratio(times[name], times[SOLO_LEARN])
        yield Row(
            f"objective of {name} against solo-learn's loss, {rows} x {dims}: time", value, spread
        )


def gather_share(rows: int, dims: int) -> Row:
    """Wall time of `gather`, forward and backward, as a share of the loss's, in two processes."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(_time_gather, (Path(folder), rows, dims), nprocs=2)
        shares = torch.load(Path(folder) / "shares")
    return Row(
        f"share of gather in info_nce, 2 processes of {rows} x {dims} over gloo",
        100 * statistics.median(shares),
        unit="%",
    )


def _time_gather(rank: int, folder: Path, rows: int, dims: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder / 'store'}", rank=rank, world_size=2)
    z, indexes = inputs(rows, dims)
    steps = {
        "gather": partial(step, lambda z: gather(z, indexes)[0].sum(), z),
        "loss": partial(step, own_loss, z, indexes),
    }
    times = alternate(steps)
    if rank == 0:
        shares = [a / b for a, b in zip(times["gather"], times["loss"], strict=True)]
        torch.save(shares, folder / "shares")
    dist.barrier()
    os._exit(0)  # gloo's threads may abort while they are shut down


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tiny", action="store_true", help="few rows, in seconds")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    by_rows = [(rows, 256) for rows in ((64, 128) if args.tiny else ROWS)]
    by_dims = [(64 if args.tiny else 512, dims) for dims in ((32, 64) if args.tiny else DIMS)]
    measured = {size: measure(*size) for size in dict.fromkeys([*by_rows, *by_dims])}

    def panels(sizes: list[tuple[int, int]], x: str, fixed: str) -> list[dict]:
        points = []
        for size in sizes:
            times, memory = measured[size]
            point = dict(zip(("rows", "width"), size, strict=True))
            point |= {f"{name} ms": 1000 * statistics.median(times[name]) for name in LOSSES}
            points.append(point | {f"{name} MB": memory[name] / 2**20 for name in LOSSES})
        return [
            panel(f"{what}, {fixed}", x, unit, points, **{n: f"{n} {unit}" for n in LOSSES})
            for what, unit in (("CPU time", "ms"), ("Memory", "MB"))
        ]

    size = (64, 32) if args.tiny else (256, 256)
    rows = [*goals(measured), *objectives(*size), gather_share(*size)]
    growth = panels(by_rows, "rows", f"{by_rows[0][1]} wide")
    growth += panels(by_dims, "width", f"{by_dims[0][0]} rows")
    write_rows("loss", rows, growth=growth)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
