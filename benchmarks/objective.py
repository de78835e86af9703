"""Time of the objective relative to solo-learn's loss and to the matrix products it needs.

    python benchmarks/objective.py [--rows 512] [--dims 256] [--device cpu]

Times are medians of 20 forward and backward passes. The products are Z Z^T in the forward pass and
two of the same size in the backward pass.
"""

import argparse
import statistics
import time
import warnings

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from solo_bayesncl.adapters import adapter
from solo_bayesncl.losses import info_nce
from solo_bayesncl.metrics import summary
from solo_bayesncl.objective import bayesncl_objective, ncl_objective

GATE = {
    "prior_prob": 0.8,
    "kl_lambda": 3e-5,
    "gate_type": "STE",
    "gate_temperature": 1.0,
    "gate_threshold": 0.5,
}


def milliseconds(step, device: str) -> float:
    times = []
    for _ in range(23):
        if device != "cpu":
            torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[3:])


def solo_learn_loss(z: torch.Tensor, indexes: torch.Tensor) -> torch.Tensor:
    from solo.losses.simclr import simclr_loss_func

    if adapter().NAME == "solo-learn main":
        return simclr_loss_func(z, indexes=indexes, temperature=0.2)
    return simclr_loss_func(*z.chunk(2), temperature=0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=512, help="views x batch")
    parser.add_argument("--dims", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()

    torch.manual_seed(0)
    shape = {"size": (args.rows, args.dims), "device": args.device}
    z = torch.randn(**shape, requires_grad=True)
    logits = torch.randn(**shape, requires_grad=True)
    indexes = torch.arange(args.rows // 2, device=args.device).repeat(2)
    labels = indexes % 100

    def products():
        unit = z.detach()
        similarities = unit @ unit.T
        _ = similarities @ unit, similarities.T @ unit

    steps = {
        "three products of Z Z^T's size": products,
        f"SimCLR's loss of {adapter().NAME}": lambda: solo_learn_loss(z, indexes).backward(),
        "info_nce": lambda: info_nce(F.normalize(z, dim=1), indexes).backward(),
        "ncl_objective": lambda: ncl_objective(
            z, indexes, non_neg="rep_relu", temperature=0.2
        ).total.backward(),
        "bayesncl_objective": lambda: bayesncl_objective(
            z, logits, indexes, non_neg="rep_relu", temperature=0.2, **GATE
        ).total.backward(),
        "metrics of one batch (once an epoch)": lambda: summary(z.detach().cpu(), labels.cpu()),
    }
    table = Table(
        title=f"{args.rows} x {args.dims}, {args.device}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} thread(s)"
    )
    table.add_column("")
    table.add_column("ms", justify="right")
    for name, step in steps.items():
        table.add_row(name, f"{milliseconds(step, args.device):.1f}")
    Console().print(table)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
