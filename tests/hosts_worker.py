"""What the processes of `test_hosts.py` run; a module of its own, so that they can import it."""

import os
from pathlib import Path

import torch
import torch.distributed as dist


def gather_gradient(rank: int, world_size: int, folder: str) -> None:
    """Gradient of a nonlinear function of rows gathered with solo-learn's `gather`."""
    from solo_bayesncl.adapters import adapter

    adapter()
    from solo.utils.misc import gather

    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size
    )
    rows = torch.load(Path(folder) / "rows.pt")
    own = rows.chunk(world_size)[rank].clone().requires_grad_()
    everything = gather(own)
    # each process sums over its own rows against all, as losses do
    ((own @ everything.T) ** 3).sum().backward()
    torch.save(own.grad, Path(folder) / f"gradient{rank}.pt")
    dist.barrier()
    os._exit(0)  # past the shutdown of gloo's threads, in which torch 2.15 sometimes aborts
