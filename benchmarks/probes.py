"""Time of the linear probes of an evaluation, and how near they come to scikit-learn's optimum.

    python benchmarks/probes.py [--threads 2] [--tiny]

The codes are generated: sparse (5 % active), non-negative, of unit length, each class with
dimensions of its own. The row of a goal is one call of `feature_selection`, all its subspaces,
timed once: the larger shape by the clock on the wall, the smaller one, which is that of a data set
of `evaluate`, by the CPU time of all threads as well. scikit-learn's optimum (float64, tol 1e-10)
is computed in the same process on a shape where that takes less than a minute. Points: seconds of
one fit on all dimensions against rows and dimensions.
"""

import argparse
import time

import torch
import torch.nn.functional as F
from ratios import Row, panel, write_rows
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from solo_bayesncl.evaluation.logistic_regression import fit_logistic_regression
from solo_bayesncl.evaluation.probes import INVERSE_REGULARISATION, feature_selection

DENSITY = 0.05


def random_codes(rows: int, dims: int, classes: int) -> tuple[Tensor, Tensor]:
    """Codes whose active dimensions depend on the class, and labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (rows,), generator=generator)
    scores = torch.randn(classes, dims, generator=generator)[labels]
    scores += torch.randn(dims, generator=generator) + torch.randn(rows, dims, generator=generator)
    threshold = scores[:1000].flatten().kthvalue(int((1 - DENSITY) * scores[:1000].numel())).values
    return F.normalize(torch.relu(scores - threshold)), labels


def selection_row(shape: tuple[int, int, int], goal: float, cpu: bool) -> Row:
    """Seconds of `feature_selection`, in CPU time or on the wall."""
    codes, labels = random_codes(*shape)
    wall, process = time.perf_counter(), time.process_time()
    feature_selection(codes, labels, codes[:2000], labels[:2000])
    wall, process = time.perf_counter() - wall, time.process_time() - process
    rows, dims, classes = shape
    return Row(
        f"linear probes of {rows} x {dims} codes, {classes} classes, all sizes"
        + (", CPU time" if cpu else ""),
        process if cpu else wall,
        goal=goal,
        unit="s",
        note=f"{torch.get_num_threads()} threads; {wall:.1f} s on the wall, {process:.1f} s CPU",
    )


def optimum_row(shape: tuple[int, int, int]) -> Row:
    """How far the objective is above the optimum of scikit-learn."""
    codes, labels = random_codes(*shape)
    start = time.perf_counter()
    probe = fit_logistic_regression(codes, labels, INVERSE_REGULARISATION)
    ours = time.perf_counter() - start
    exact, targets = codes.double(), labels.unique(return_inverse=True)[1]
    reference = LogisticRegression(C=INVERSE_REGULARISATION, tol=1e-10, max_iter=5000)
    start = time.perf_counter()
    reference.fit(exact.numpy(), targets.numpy())
    theirs = time.perf_counter() - start

    def objective(weight: Tensor, bias: Tensor) -> float:
        loss = F.cross_entropy(exact @ weight + bias, targets, reduction="sum")
        return float(INVERSE_REGULARISATION * loss + weight.square().sum() / 2)

    optimum = objective(torch.from_numpy(reference.coef_.T), torch.from_numpy(reference.intercept_))
    reached = objective(probe.weight.double(), probe.bias.double())
    rows, dims, classes = shape
    return Row(
        f"objective of {rows} x {dims} codes, {classes} classes, above scikit-learn's optimum",
        reached / optimum - 1,
        goal=1e-4,
        unit="relative",
        note=f"bound {probe.gap:.1e}; {ours:.2f} s, scikit-learn {theirs:.1f} s",
    )


def fit_seconds(rows: int, dims: int, classes: int) -> dict[str, float]:
    """Time of one fit on all dimensions, from zero."""
    codes, labels = random_codes(rows, dims, classes)
    start = time.perf_counter()
    probe = fit_logistic_regression(codes, labels, INVERSE_REGULARISATION)
    seconds = time.perf_counter() - start
    return {"rows": rows, "dims": dims, "seconds": seconds, "evaluations": probe.evaluations}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tiny", action="store_true", help="small codes, seconds in all")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    classes = 10 if args.tiny else 100
    large, small, compared = (20_000, 2048), (5679, 256), (2000, 128)
    grid_rows, grid_dims = (2500, 5000, 10_000, 20_000), (256, 512, 1024, 2048)
    if args.tiny:
        large, small, compared = (500, 64), (300, 32), (300, 16)
        grid_rows, grid_dims = (200, 400), (16, 32)
    rows = [
        selection_row((*large, classes), goal=300, cpu=False),
        selection_row((*small, classes - 1), goal=4, cpu=True),
        optimum_row((*compared, classes)),
    ]
    against_rows = [fit_seconds(count, grid_dims[1], classes) for count in grid_rows]
    against_dims = [fit_seconds(grid_rows[-1], count, classes) for count in grid_dims]
    fixed = f"{grid_dims[1]} dimensions", f"{grid_rows[-1]} rows"
    growth = [
        panel(f"One probe, {fixed[0]}", "rows", "s", against_rows, fit="seconds"),
        panel(f"One probe, {fixed[1]}", "dims", "s", against_dims, fit="seconds"),
    ]
    write_rows("probes", rows, growth=growth)


if __name__ == "__main__":
    main()
