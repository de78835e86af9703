"""Time of a training step of NCL and BayesNCL relative to SimCLR's, on the CPU.

    python benchmarks/step_ratio.py [--threads 1]

The models of the CIFAR recipes (32 px, batch 128, projector 2048-256) train in Lightning's trainer
on one random batch, so loading is not included. Each trainer has a thread of its own, and they take
turns step by step, so a time is that of a whole turn of Lightning's loop. The first steps do not
count: they make the optimizer's state and the statistics of an epoch. Seconds are process time,
which counts all threads, and a ratio is the median over rounds. There are three backbones:

- resnet18 with its CIFAR stem, as in the recipe;
- resnet18 with its stem for larger images, where the backbone costs a tenth;
- a linear layer of one pixel, with tiny batches and heads. What is left is the time in which
  Python issues operations, for which a fast GPU waits.

`benchmarks/step.py` measures steps on a GPU.
"""

import argparse
import statistics
import threading
import time
import warnings
from typing import NamedTuple

import torch
from ratios import Row, alternate, quartiles, ratio, write_rows
from step import TINY, Batches, random_batch, trainer_without_files
from torch import nn

from solo_bayesncl.adapters import adapter
from solo_bayesncl.nn import mlp
from solo_bayesncl.recipes.compose import compose_recipe
from solo_bayesncl.training import pretraining

SETTINGS = ("accelerator=cpu", "precision=32-true", "optimizer.batch_size=128")
METHODS = ("simclr", "ncl", "bayesncl")
# (method, relative to, goal)
GOALS = (("bayesncl", "ncl", 1.02), ("bayesncl", "simclr", 1.03), ("ncl", "simclr", None))


class Case(NamedTuple):
    """A backbone, the overrides of the recipe that select it, and how often a step is timed."""

    backbone: str
    overrides: tuple[str, ...]
    warmup: int
    rounds: int


STEMS = (
    Case("CIFAR stem", (), 1, 4),
    Case("7x7 stem", ("data.dataset=imagenet100",), 2, 24),
)
OVERHEAD = Case("linear", TINY, 10, 300)


class Steps(adapter().pl.callbacks.Callback):
    """A training whose steps are made one at a time by calls."""

    def __init__(self, model: nn.Module, cfg, count: int):
        self._asked, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        fit = trainer_without_files(cfg, self), model, Batches(random_batch(cfg, "cpu"), count)
        thread = threading.Thread(target=self._fit, args=fit, daemon=True)
        thread.start()

    def _fit(self, trainer, model: nn.Module, loader: Batches) -> None:
        self._asked.acquire()
        try:
            trainer.fit(model, loader)
        except BaseException as error:
            self._error = error
        finally:
            self._done.release()

    def on_train_batch_end(self, *unused) -> None:
        self._done.release()
        self._asked.acquire()

    def __call__(self) -> None:
        """Continues to the end of the next step, or after the last one to that of the training."""
        self._asked.release()
        self._done.acquire()
        if self._error is not None:
            raise self._error


def without_backbone(model: nn.Module) -> nn.Module:
    """The model with a linear layer of one pixel in the place of its backbone, in place."""
    name = "backbone" if isinstance(getattr(model, "backbone", None), nn.Module) else "encoder"
    pixel = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, model.features_dim))
    setattr(model, name, pixel)
    return model


def measure(case: Case) -> dict[str, list[float]]:
    """Method -> seconds of a step in each round."""
    steps = {}
    for method in METHODS:
        cfg = compose_recipe("scripts/pretrain/cifar", method, [*SETTINGS, *case.overrides])
        cfg = pretraining.prepare(cfg, data=False)
        model = pretraining.build(cfg)
        if case.backbone == OVERHEAD.backbone:
            model = without_backbone(model)
        steps[method] = Steps(model, cfg, case.warmup + case.rounds)
    times = alternate(steps, case.rounds, case.warmup, clock=time.process_time)
    for finish in steps.values():
        finish()
    return times


def gating_head_seconds() -> float:
    """Forward and backward pass of the recipe's gating head alone, which BayesNCL cannot avoid."""
    head, feats = mlp(512, 2048, 256), torch.randn(256, 512)
    times = alternate({"head": lambda: head(feats).sum().backward()}, clock=time.process_time)
    return statistics.median(times["head"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tiny", action="store_true", help="tiny batches and heads, 2 rounds")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    rows = []
    for method, seconds in measure(OVERHEAD).items():
        spread = tuple(1e6 * quartile for quartile in quartiles(seconds))
        value = 1e6 * statistics.median(seconds)
        rows.append(Row(f"step of {method} without backbone", value, spread, unit="µs"))
    for case in STEMS:
        if args.tiny:
            case = case._replace(overrides=(*case.overrides, *TINY), rounds=2)
        times = measure(case)
        for method, other, goal in GOALS:
            value, spread = ratio(times[method], times[other])
            what = f"step of {method} against {other}, {case.backbone}"
            note = f"{statistics.median(times[method]):.3g} s, threads: {args.threads}"
            rows.append(Row(what, value, spread, goal, note=note))
        share = 100 * gating_head_seconds() / statistics.median(times["ncl"])
        what = f"gating head alone, of a step of ncl, {case.backbone}"
        rows.append(Row(what, share, unit="%"))
    write_rows("step_ratio", rows)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
