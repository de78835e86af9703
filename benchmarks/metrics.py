"""Time of the metrics relative to the matrix products they need, and peak memory of retrieval.

    python benchmarks/metrics.py [--rows 5000] [--dims 2048] [--classes 100] [--density 0.05]
                                 [--threads 1] [--retrieval 5000]

The products are one-hot^T @ active and one-hot^T @ |codes| in float32, without computing their
operands. The target for the six class-based metrics (three consistencies and three entropies) is
4 times their time. Times are medians of 20 on the CPU. Each retrieval metric runs once in a process
of its own, whose peak memory includes the libraries and the codes ("codes alone").
"""

import argparse
import resource
import statistics
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from solo_bayesncl import metrics
from solo_bayesncl.metrics.entropy import WEIGHTINGS
from solo_bayesncl.metrics.statistics import ACTIVE, statistics_by_class
from solo_bayesncl.metrics.summary import CLASS_BASED

SIX = (
    "semantic_consistency",
    "weighted_consistency",
    "support_thresholded_consistency",
    *(f"semantic_entropy_{weighting}" for weighting in WEIGHTINGS),
)
SIX_FUNCTIONS = (
    metrics.semantic_consistency,
    metrics.weighted_consistency,
    metrics.support_thresholded_consistency,
    *(partial(metrics.semantic_entropy, weighting=weighting) for weighting in WEIGHTINGS),
)


def random_codes(rows: int, dims: int, classes: int, density: float) -> tuple[Tensor, Tensor]:
    """Sparse non-negative codes of unit length, and labels."""
    torch.manual_seed(0)
    codes = torch.rand(rows, dims)
    codes *= torch.rand(rows, dims) < density
    return F.normalize(codes), torch.randint(0, classes, (rows,))


def milliseconds(step: Callable[[], object]) -> float:
    times = []
    for _ in range(23):
        start = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[3:])


def retrieval_cost(name: str, threads: int, *shape) -> tuple[float, float]:
    """Seconds and peak GB of one retrieval metric in this process."""
    torch.set_num_threads(threads)
    codes, labels = random_codes(*shape)
    start = time.perf_counter()
    if name == "retrieval_precision":
        metrics.retrieval_precision(codes, labels, dims=[codes.size(1)])
    elif name == "mean_average_precision":
        metrics.mean_average_precision(codes, labels)
    seconds = time.perf_counter() - start
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--dims", type=int, default=2048)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--density", type=float, default=0.05, help="share of active entries")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--retrieval", type=int, default=5000, help="rows; 0: no retrieval")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    # Retrieval comes first, because the peak of a child starts at that of its parent.
    if args.retrieval:
        shape = (args.retrieval, args.dims, args.classes, args.density)
        Console().print(retrieval_table(args.threads, shape))
    Console().print(class_table(args))


def retrieval_table(threads: int, shape: tuple) -> Table:
    table = Table("", title=f"{shape[0]} x {shape[1]}, {threads} thread(s)")
    table.add_column("s", justify="right")
    table.add_column("peak GB", justify="right")
    for name in ("codes alone", "retrieval_precision", "mean_average_precision"):
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            seconds, peak = process.submit(retrieval_cost, name, threads, *shape).result()
        table.add_row(name, f"{seconds:.1f}", f"{peak:.2f}")
    return table


def class_table(args: argparse.Namespace) -> Table:
    codes, labels = random_codes(args.rows, args.dims, args.classes, args.density)
    by_class = F.one_hot(labels, args.classes).float().T.contiguous()
    active, magnitudes = (codes > ACTIVE).float(), codes.abs()
    embeddings = torch.randn(args.rows, 512)

    def products():
        return by_class @ active, by_class @ magnitudes

    def together(names):
        known = statistics_by_class(codes, labels)
        return [CLASS_BASED[name](known) for name in names]

    steps = {
        "the two products": products,
        "six class-based metrics": lambda: together(SIX),
        "the same as six calls": lambda: [function(codes, labels) for function in SIX_FUNCTIONS],
        "all class-based metrics": lambda: together(CLASS_BASED),
        "per_dimension": lambda: metrics.per_dimension(codes, labels, args.classes),
        "shuffled_label_null, 10 permutations": lambda: metrics.shuffled_label_null(codes, labels),
        "mutual_information": lambda: metrics.mutual_information(codes, labels),
        "monosemanticity, 512 numbers": lambda: metrics.monosemanticity(codes, embeddings),
    }
    table = Table(
        "",
        title=f"{args.rows} x {args.dims}, {args.classes} classes, {args.density:.0%} active, "
        f"torch {torch.__version__}, {args.threads} thread(s)",
    )
    table.add_column("ms", justify="right")
    table.add_column("products", justify="right")
    times = {name: milliseconds(step) for name, step in steps.items()}
    for name, spent in times.items():
        table.add_row(name, f"{spent:.1f}", f"{spent / times['the two products']:.2f}")
    return table


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
