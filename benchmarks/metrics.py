"""Time of the metrics relative to what they cannot avoid, and peak memory of retrieval.

    python benchmarks/metrics.py [--rows 5000] [--dims 2048] [--classes 100] [--density 0.05]
                                 [--batch 500] [--threads 1] [--rounds 15] [--cpu-time] [--tiny]

The streaming class (`update` for each batch, `compute`) is compared with X^T X in float64 and two
sums by class for each batch, as products with one-hot labels, and one decomposition of the D x D
matrix; operands are made before. By symmetry, half of X^T X could be avoided: the second row counts
that half alone. The class-based metrics are compared with their two products.
"""

import argparse
import time
import warnings
from functools import partial

import torch
import torch.nn.functional as F
from ratios import Row, alternate, panel, peak_memory, ratio, write_rows
from torch import Tensor

from solo_bayesncl import metrics
from solo_bayesncl.metrics.statistics import ACTIVE, add_upper_gram_


def random_codes(rows: int, dims: int, classes: int, density: float) -> tuple[Tensor, Tensor]:
    """Sparse non-negative codes of unit length, and labels."""
    torch.manual_seed(0)
    codes = torch.rand(rows, dims)
    codes *= torch.rand(rows, dims) < density
    return F.normalize(codes), torch.randint(0, classes, (rows,))


class Unavoidable:
    """The products that the metrics of codes need, with operands that exist already."""

    def __init__(self, codes: Tensor, labels: Tensor, num_classes: int, batch: int):
        self.codes = codes.double().split(batch)
        self.operands = [
            (F.one_hot(part, num_classes).float().T.contiguous(), (rows > ACTIVE).float(), rows)
            for part, rows in zip(labels.split(batch), codes.split(batch), strict=True)
        ]
        self.gram = torch.zeros(2 * (codes.size(1),), dtype=torch.float64)

    def sums_by_class(self) -> None:
        for one_hot, active, magnitudes in self.operands:
            _ = one_hot @ active, one_hot @ magnitudes

    def streaming(self, half: bool = False) -> None:
        self.gram.zero_()
        for rows in self.codes:
            if half:
                add_upper_gram_(self.gram, rows)
            else:
                self.gram.addmm_(rows.T, rows)
        self.sums_by_class()
        torch.linalg.eigvalsh(self.gram)


def stream(codes: Tensor, labels: Tensor, num_classes: int, batch: int) -> None:
    metric = metrics.InterpretabilityMetrics(num_classes)
    for rows, of_rows in zip(codes.split(batch), labels.split(batch), strict=True):
        metric.update(rows, of_rows)
    metric.compute()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--dims", type=int, default=2048)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--density", type=float, default=0.05, help="share of active entries")
    parser.add_argument("--batch", type=int, default=500, help="rows of an update")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cpu-time", action="store_true", help="of the process, for busy machines")
    parser.add_argument("--tiny", action="store_true", help="few rows, to try the script")
    args = parser.parse_args(arguments)
    if args.tiny:
        args.rows, args.dims, args.classes, args.batch, args.rounds = 200, 32, 5, 50, 3
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.cpu_time else time.perf_counter
    codes, labels = random_codes(args.rows, args.dims, args.classes, args.density)
    unavoidable = Unavoidable(codes, labels, args.classes, args.batch)
    steps = {
        "unavoidable": unavoidable.streaming,
        "half": partial(unavoidable.streaming, half=True),
        "streaming": partial(stream, codes, labels, args.classes, args.batch),
        "products": unavoidable.sums_by_class,
        "class-based": partial(metrics.class_based_summary, codes, labels),
        "null": partial(metrics.shuffled_label_null, codes, labels),
    }
    times = alternate(steps, args.rounds, clock=clock)
    shape = f"{args.rows} x {args.dims}, {args.classes} classes"

    def row(what: str, name: str, of: str, goal: float | None = None) -> Row:
        seconds = [sorted(times[key])[len(times[key]) // 2] for key in (name, of)]
        note = " / ".join(f"{1000 * value:.0f} ms" for value in seconds)
        return Row(f"{what}, {shape}", *ratio(times[name], times[of]), goal, note=note)

    rows = [
        row("streaming metrics / products and eigenvalues", "streaming", "unavoidable", 1.5),
        row("the same, with half of X^T X", "streaming", "half"),
        row("class-based metrics / two products", "class-based", "products"),
        row("10 permutations / two products", "null", "products"),
    ]
    for function in (partial(metrics.retrieval_precision, dims=[args.dims]),
                     metrics.mean_average_precision):  # fmt: skip
        name = getattr(function, "func", function).__name__
        memory = peak_memory(partial(function, codes, labels)) / 2**20
        rows.append(Row(f"peak memory of {name}, {shape}", memory, unit="MB"))
    points = []
    for dims in sorted({args.dims // 4, args.dims // 2, args.dims}):
        one = {"step": partial(stream, codes[:, :dims], labels, args.classes, args.batch)}
        spent = alternate(one, rounds=3, warmup=1, clock=clock)["step"]
        points.append({"dimensions": dims, "seconds": sorted(spent)[1]})
    growth = [panel("Streaming metrics", "dimensions", "s", points, all="seconds")]
    write_rows("metrics", rows, growth=growth)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
