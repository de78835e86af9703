"""What the processes of `test_processes.py` run; a module of its own, so they can import it."""

import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from solo_bayesncl.sync_batchnorm import synchronise

# (layer, shape of the rows of all processes)
LAYERS = {
    "of vectors": (lambda: nn.BatchNorm1d(5), (9, 5)),
    "without weights": (lambda: nn.BatchNorm1d(5, affine=False), (9, 5)),
    "of sequences": (lambda: nn.BatchNorm1d(5), (9, 5, 4)),
    "of images": (lambda: nn.BatchNorm2d(3), (9, 3, 4, 2)),
    "averaging all batches": (lambda: nn.BatchNorm2d(3, momentum=None), (9, 3, 4, 2)),
    "without running statistics": (
        lambda: nn.BatchNorm2d(3, track_running_stats=False),
        (9, 3, 4, 2),
    ),
    "of volumes": (lambda: nn.BatchNorm3d(2), (9, 2, 2, 3, 2)),
    "in a network": (lambda: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU()), (9, 5)),
}
OWN_ROWS = (slice(0, 6), slice(6, 9))  # of two processes


def two_steps(name: str, rows: slice, prepare) -> dict[str, dict[str, Tensor]]:
    """Outputs, gradients and state after two steps in training, and an output in evaluation."""
    build, shape = LAYERS[name]
    torch.manual_seed(0)
    layer = prepare(build().double())
    batches = [(3 + 2 * torch.randn(shape, dtype=torch.float64))[rows] for _ in range(3)]
    found: dict[str, dict[str, Tensor]] = {"rows": {}, "summed": {}}
    for step, batch in enumerate(batches[:2]):
        batch.requires_grad_()
        out = layer(batch)
        (out.sin() + out**3).sum().backward()
        found["rows"][f"output {step}"] = out.detach()
        found["rows"][f"gradient {step}"] = batch.grad
    found["summed"] = {key: value.grad for key, value in layer.named_parameters()}
    if "running" not in name:
        found["rows"]["evaluated"] = layer.eval()(batches[2]).detach()
    found["state"] = dict(layer.state_dict())
    return found


def batch_norm(rank: int, folder: str) -> None:
    """Every layer, in one of two processes with unequal numbers of rows."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = {name: two_steps(name, OWN_ROWS[rank], synchronise) for name in LAYERS}
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.barrier()
    os._exit(0)  # past the shutdown of gloo's threads, in which torch sometimes aborts
