"""Time of a training step of NCL and BayesNCL relative to SimCLR's, on the CPU.

    python benchmarks/step_ratio.py [--threads 1] [--rounds 9]

The models of the CIFAR recipes (resnet18 with its CIFAR stem, 32 px, batch 128, projector
2048-256) train in Lightning's trainer on one random batch, so loading is not included. They take
turns in one process, in bursts of a few steps of which the first does not count: it makes the
optimizer's state and the statistics of an epoch. Seconds are process time, which counts all
threads, and a ratio is the median over rounds. `benchmarks/step.py` measures steps on a GPU.
"""

import argparse
import time
import warnings
from functools import partial

import torch
from ratios import Row, ratio, write_rows
from step import TINY, Batches

from solo_bayesncl.adapters import adapter
from solo_bayesncl.recipes.compose import compose_recipe
from solo_bayesncl.training import pretraining
from solo_bayesncl.training.seeding import SeededSteps

SETTINGS = ("accelerator=cpu", "precision=32-true", "optimizer.batch_size=128")
# (method, relative to, goal)
GOALS = (("bayesncl", "ncl", 1.02), ("bayesncl", "simclr", 1.03), ("ncl", "simclr", None))


class BurstClock(adapter().pl.callbacks.Callback):
    """Process time from the second step to the last."""

    seconds = 0.0

    def on_train_batch_start(self, trainer, module, batch, batch_idx, *unused) -> None:
        if batch_idx == 1:
            self.start = time.process_time()

    def on_train_batch_end(self, *unused) -> None:
        if hasattr(self, "start"):
            self.seconds = time.process_time() - self.start


def burst(model: torch.nn.Module, cfg, steps: int) -> float:
    """Seconds of `steps` steps after one that does not count."""
    size, pixels = cfg.optimizer.batch_size, cfg.augmentations[0].crop_size
    crops = [torch.randn(size, 3, pixels, pixels) for _ in range(2)]
    targets = torch.randint(0, cfg.data.num_classes, (size,))
    clock = BurstClock()
    trainer = adapter().pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        logger=False,
        callbacks=[clock, SeededSteps(cfg.seed)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, Batches([torch.arange(size), crops, targets], 1 + steps))
    return clock.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=2, help="of a burst")
    parser.add_argument("--tiny", action="store_true", help="tiny models and batches, 2 rounds")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    rounds, tiny = (2, TINY) if args.tiny else (args.rounds, ())
    bursts, times = {}, {}
    for name in ("simclr", "ncl", "bayesncl"):
        cfg = compose_recipe("scripts/pretrain/cifar", name, [*SETTINGS, *tiny])
        cfg = pretraining.prepare(cfg, data=False)
        bursts[name] = partial(burst, pretraining.build(cfg), cfg, args.steps)
        times[name] = []
    names = list(bursts)
    for _ in range(rounds):
        for name in names:
            times[name].append(bursts[name]())
        names.append(names.pop(0))  # each round in another order
    rows = []
    for method, other, goal in GOALS:
        value, spread = ratio(times[method], times[other])
        seconds = f"{sorted(times[method])[rounds // 2] / args.steps:.3g} s, {args.threads} thread"
        rows.append(Row(f"step of {method} against {other}", value, spread, goal, note=seconds))
    write_rows("step_ratio", rows)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
