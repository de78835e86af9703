"""Time and peak memory of a training step of SimCLR, NCL and BayesNCL on one device.

    python benchmarks/step.py cifar --device cuda
    python benchmarks/step.py imagenet-100 --device cuda --out table.md

Lightning's trainer trains the recipes' models, with their batch sizes and optimisers, on one random
batch that is already on the device, so loading is not included. Times are means of 50 steps between
two synchronisations, after 10 warm-up steps; memory is torch's peak allocation in these steps. The
objective (forward and backward, from the heads' outputs to the loss) is timed separately and also
given as a share of the step. Statistics are those that a run measures on one batch per epoch.
`benchmarks/step_ratio.py` compares the three methods on the CPU, in turns.
"""

import argparse
import gc
import statistics
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from loss import GATE
from ratios import alternate

from solo_bayesncl import metrics
from solo_bayesncl.adapters import adapter
from solo_bayesncl.objective import bayesncl_objective, ncl_objective
from solo_bayesncl.recipes.compose import compose_recipe
from solo_bayesncl.training import pretraining
from solo_bayesncl.training.seeding import SeededSteps

STEPS, WARMUP = 50, 10
IMAGENET_STEPS = 990  # of an epoch of ImageNet-100: 126689 images in batches of 128
# (recipe, overrides); the recipes use 16-mixed and channels-last
CASES = (
    ("simclr", ()),
    ("ncl", ()),
    ("bayesncl", ()),
    ("bayesncl", ("precision=bf16-mixed",)),
    ("bayesncl", ("precision=32-true",)),
    ("bayesncl", ("++performance.disable_channel_last=True",)),
)
TINY = (
    "optimizer.batch_size=8",
    "augmentations.0.crop_size=32",
    "method_kwargs.proj_hidden_dim=32",
    "method_kwargs.proj_output_dim=16",
)


class Batches:
    """A loader that repeats one batch."""

    def __init__(self, batch: list, count: int):
        self.batch, self.count = batch, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self):
        return iter([self.batch] * self.count)


class Clock(adapter().pl.callbacks.Callback):
    """Measures time and peak memory of the steps after the first `WARMUP`."""

    def __init__(self, device: str):
        self.device = device
        self.seconds, self.peak = 0.0, "-"

    def synchronize(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def on_train_batch_start(self, trainer, module, batch, batch_idx, *unused) -> None:
        if batch_idx == WARMUP:
            if self.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            self.synchronize()
            self.start = time.perf_counter()

    def on_train_epoch_end(self, trainer, module) -> None:
        self.synchronize()
        self.seconds = time.perf_counter() - self.start
        if self.device == "cuda":
            self.peak = f"{torch.cuda.max_memory_allocated() / 2**30:.2f}"


def train(cfg, device: str, steps: int) -> Clock:
    """Trains on a random batch; `cfg` is a prepared recipe."""
    gc.collect()  # the previous model and its trainer refer to each other
    adapter().pl.seed_everything(cfg.seed)
    model = pretraining.build(cfg)
    if not cfg.get("performance", {}).get("disable_channel_last", False):
        model = model.to(memory_format=torch.channels_last)
    clock = Clock(device)
    trainer = trainer_without_files(cfg, clock)
    trainer.fit(model, Batches(random_batch(cfg, device), WARMUP + steps))
    return clock


def random_batch(cfg, device: str) -> list:
    """A batch of a prepared recipe: indexes, two crops, targets."""
    size, pixels = cfg.optimizer.batch_size, cfg.augmentations[0].crop_size
    crops = [torch.randn(size, 3, pixels, pixels, device=device) for _ in range(2)]
    targets = torch.randint(0, cfg.data.num_classes, (size,), device=device)
    return [torch.arange(size, device=device), crops, targets]


def trainer_without_files(cfg, callback):
    """Lightning's trainer for one epoch of a prepared recipe, which writes and shows nothing."""
    return adapter().pl.Trainer(
        accelerator=cfg.accelerator,
        devices=1,
        precision=adapter().precision(cfg.precision),
        max_epochs=1,
        logger=False,
        callbacks=[callback, SeededSteps(cfg.seed)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def milliseconds(step: Callable[[], object], device: str) -> float:
    """Median of 20 calls, each with a synchronisation, after three that do not count."""

    def finished() -> None:
        step()
        if device == "cuda":
            torch.cuda.synchronize()

    times = alternate({"step": finished}, rounds=20, warmup=3)["step"]
    return 1000 * statistics.median(times)


def objective_ms(cfg, device: str) -> float | None:
    """Forward and backward of the objective alone; None for SimCLR, which does not use it."""
    shape = (2 * cfg.optimizer.batch_size, cfg.method_kwargs.proj_output_dim)
    z, logits = (torch.randn(shape, device=device, requires_grad=True) for _ in range(2))
    indexes = torch.arange(shape[0] // 2, device=device).repeat(2)
    options = {"non_neg": cfg.method_kwargs.get("non_neg"), "temperature": 0.2}
    if cfg.method == "ncl":
        return milliseconds(lambda: ncl_objective(z, indexes, **options).total.backward(), device)
    if cfg.method == "bayesncl":
        options |= GATE
        return milliseconds(
            lambda: bayesncl_objective(z, logits, indexes, **options).total.backward(), device
        )
    return None


def step_row(name: str, overrides: tuple, args, simclr: float | None) -> tuple[str, float]:
    """A line of the table and the milliseconds per step; `simclr` are those of SimCLR."""
    tiny = (*TINY, "accelerator=cpu") if args.tiny else ()
    cfg = compose_recipe(f"scripts/pretrain/{args.recipes}", name, [*overrides, *tiny])
    cfg = pretraining.prepare(cfg, data=False)
    clock = train(cfg, args.device, args.steps)
    step, objective = 1000 * clock.seconds / args.steps, objective_ms(cfg, args.device)
    size = cfg.optimizer.batch_size
    layout = "contiguous" if any("channel" in o for o in overrides) else "channels-last"
    share = "" if objective is None else f"{objective:.2f} ({objective / step:.1%})"
    ratio = f"{step / (simclr or step):.3f}"
    speed = [f"{step:.2f}", ratio, f"{1000 * size / step:.0f}"]
    cells = [name, cfg.precision, layout, *speed, clock.peak, share]
    return f"| {' | '.join(cells)} |\n", step


def statistics_rows(device: str, step: float) -> str:
    """Time of the metrics of a batch in one space, on the device and on a CPU copy."""
    lines = []
    for dims in (256, 2048):
        codes = torch.relu(torch.randn(256, dims, device=device))
        labels = torch.arange(256, device=device) % 100
        on_device = milliseconds(lambda: metrics.summary(codes, labels), device)  # noqa: B023
        copy = milliseconds(lambda: metrics.summary(codes.cpu(), labels.cpu()), device)  # noqa: B023
        cells = [f"256 x {dims}", f"{copy:.1f}", f"{on_device:.1f}"]
        cells += [f"{ms / (IMAGENET_STEPS * step):.4%}" for ms in (copy, on_device)]
        lines.append(f"| {' | '.join(cells)} |\n")
    return "".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", choices=["cifar", "imagenet-100"], help="a folder of recipes")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--tiny", action="store_true", help="tiny models and batches, 2 steps")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: the console")
    args = parser.parse_args()
    args.steps = 2 if args.tiny else args.steps
    table = [
        f"Steps of {args.recipes}, without loading\n\n"
        "| | precision | memory format | ms per step | of SimCLR's | images/s | peak GB | "
        "objective, ms |\n|---|---|---|---|---|---|---|---|\n"
    ]
    failed, steps = False, {}
    for name, overrides in CASES:
        try:
            line, steps[name, overrides] = step_row(name, overrides, args, steps.get(CASES[0]))
        except Exception:  # e.g. out of memory: the next case may fit
            traceback.print_exc()
            failed, line = True, f"| {name} | {' '.join(overrides)} | FAILED | | | | | |\n"
        table.append(line)
    if args.recipes == "imagenet-100" and ("bayesncl", ()) in steps:
        table.append(
            "\nStatistics of one space, once an epoch\n\n| codes | ms, copied to the CPU "
            "| ms on the device | share of an epoch, copied | on the device |\n"
            "|---|---|---|---|---|\n"
        )
        table.append(statistics_rows(args.device, steps["bayesncl", ()]))
    text = "".join(table)
    if args.out:
        args.out.write_text(text)
    else:
        print(text)
    return 1 if failed else 0


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    sys.exit(main())
