"""What a process of `test_divergence.py` runs; a module of its own, so that it can import it."""

from pathlib import Path
from types import SimpleNamespace

import torch
import torch.distributed as dist
from omegaconf import OmegaConf
from torch import Tensor, nn
from torchvision.datasets import FakeData

from solo_bayesncl.training.divergence import StopWhenDiverged


class Strategy:
    """As Lightning's: any process's decision is that of all."""

    def reduce_boolean_decision(self, decision: bool, all: bool) -> bool:
        assert not all
        if not dist.is_initialized():
            return decision
        total = torch.tensor(float(decision))
        dist.all_reduce(total)
        return bool(total)


def trainer_on(folder: Path, rank: int = 0, world_size: int = 1) -> SimpleNamespace:
    """What the callback asks of a trainer, in epoch 2 after 28 steps; checked every 4 steps."""
    return SimpleNamespace(
        current_epoch=2,
        global_step=28,
        global_rank=rank,
        is_global_zero=rank == 0,
        world_size=world_size,
        log_every_n_steps=4,
        callback_metrics={},
        callbacks=[],
        ckpt_path=None,
        optimizers=[],
        strategy=Strategy(),
        loggers=[SimpleNamespace(log_dir=str(folder))],
        train_dataloader=SimpleNamespace(sampler=None, dataset=FakeData(4)),
    )


def take_step(
    watch: StopWhenDiverged, trainer: SimpleNamespace, module: nn.Module, step: int, loss: Tensor
) -> None:
    """A step of an epoch that has logged its loss as the only term."""
    watch.on_train_batch_start(trainer, module, None, step)
    trainer.callback_metrics |= {"train_nce_loss_step": loss}
    trainer.global_step += 1
    watch.on_train_batch_end(trainer, module, {"loss": loss}, None, step)


def diverge_on_rank_one(rank: int, folder: Path) -> str:
    """How a process ends in whose group the last of four losses of rank one is infinite."""
    watch = StopWhenDiverged(OmegaConf.create({"precision": "32-true"}))
    trainer = trainer_on(folder, rank, world_size=2)
    module = nn.Linear(2, 2)
    module.device = torch.device("cpu")
    try:
        for step in range(4):
            loss = torch.inf if (rank, step) == (1, 3) else 1.0
            take_step(watch, trainer, module, step, torch.tensor(loss))
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {error}"
    return "went on"
