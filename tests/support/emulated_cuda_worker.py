"""What a process of `test_emulated_cuda.py` runs; a module of its own, so that it can import it."""

from unittest.mock import patch

import torch
import torch.distributed as dist
from emulated_cuda import CUDA, EmulatedCuda, on_cuda
from processes_worker import small_model
from test_methods import batch
from torch import nn

from solo_bayesncl.adapters import adapter


def log_an_epoch(rank: int, methods: tuple[str, ...]) -> dict[str, dict]:
    """What Lightning makes of what methods log in DDP on a GPU, by method."""
    with EmulatedCuda():
        return {method: _log_an_epoch(method) for method in methods}


def _log_an_epoch(method: str) -> dict[str, object]:
    """Of three steps: how many reductions each made, what the bar reads, values of steps and epoch.

    An error ends it as it would end a run, and is what is returned.
    """
    model = small_model(method).to(CUDA)
    trainer = _trainer_in_an_epoch(model)
    results = trainer._results
    results.batch = on_cuda(batch())
    reductions, steps, bar = [], [], set()
    try:
        for step in range(3):
            with (
                patch.object(dist, "all_reduce", wraps=dist.all_reduce) as all_reduce,
                patch.object(type(trainer), "world_size", 2),  # logs as in several processes
            ):
                model.training_step(results.batch, step)
                of_step = results.metrics(on_step=True)
            reductions.append(all_reduce.call_count)
            steps.append(_values(of_step["log"]))
            bar |= of_step["pbar"].keys()
        of_epoch = results.metrics(on_step=False)
    except RuntimeError as error:
        return {"error": str(error)}
    return {
        "reductions": reductions,
        "bar": sorted(bar),
        "steps": steps,
        "epoch": _values(of_epoch["log"]),
    }


def _trainer_in_an_epoch(model: nn.Module):
    """Lightning's trainer as it is within an epoch of DDP on a GPU."""
    trainer = adapter().pl.Trainer(
        accelerator="cpu", devices=1, strategy="ddp", logger=False, enable_checkpointing=False
    )
    trainer.training = True
    trainer._results.to(device=CUDA)
    model.trainer, model._current_fx_name = trainer, "training_step"
    return trainer


def _values(logged: dict[str, torch.Tensor]) -> dict[str, tuple[str, float]]:
    return {name: (value.device.type, float(value)) for name, value in logged.items()}
