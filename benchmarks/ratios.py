"""What the benchmarks share: alternated times, peak memory, and rows of the table of goals.

A time alone says little, because it depends on the machine and on what else runs there. So things
are timed in turns within one process and given as ratios: of each round the ratio, of all rounds
the median and the quartiles.
"""

import ctypes
import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

OUT = Path(os.environ.get("BENCH_OUT", Path(__file__).resolve().parents[1] / "bench"))
_PACKAGES = ("torch", "torchvision", "solo-learn", "lightning", "pytorch-lightning", "scikit-learn")


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        what: what is measured, in words.
        value: the ratio, or the number with `unit`.
        spread: (lower, upper) quartile of the rounds, None for a single measurement.
        goal: the value to reach, None for a line that only informs.
        at_most: whether the goal is an upper bound, or else a lower one.
        unit: "x" for ratios, else "s", "MB", "%", "images/s", ...
        note: what else the reader must know, e.g. the milliseconds.
    """

    what: str
    value: float
    spread: tuple[float, float] | None = None
    goal: float | None = None
    at_most: bool = True
    unit: str = "x"
    note: str = ""

    @property
    def is_met(self) -> bool:
        """Whether the goal is reached; True without one."""
        if self.goal is None:
            return True
        return self.value <= self.goal if self.at_most else self.value >= self.goal


def alternate(
    steps: Mapping[str, Callable[[], object]],
    rounds: int = 15,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each step in each round; the steps take turns, each round in another order.

    Args:
        steps: name -> what is timed.
        rounds: how often each is timed.
        warmup: rounds before them that do not count.
        clock: `time.process_time` where other programs run beside; it counts all threads.
    """
    times: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for number in range(-warmup, rounds):
        for name in names:
            start = clock()
            steps[name]()
            spent = clock() - start
            if number >= 0:
                times[name].append(spent)
        names.append(names.pop(0))
    return times


def ratio(times: list[float], of: list[float]) -> tuple[float, tuple[float, float]]:
    """Median and quartiles of the ratios of each round."""
    ratios = [a / b for a, b in zip(times, of, strict=True)]
    return statistics.median(ratios), quartiles(ratios)


def quartiles(values: list[float]) -> tuple[float, float]:
    """Lower and upper quartile."""
    lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
    return lower, upper


def peak_memory(step: Callable[[], object]) -> int:
    """Bytes that a step needs at most beyond what the process holds before it (Linux).

    Its first call, which loads kernels, does not count.
    """
    step()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _status("VmRSS")
    step()
    return max(0, _status("VmHWM") - before)


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def write_rows(name: str, rows: list[Row], **more: object) -> None:
    """Prints rows and writes them to bench/NAME.json, or to that of the folder $BENCH_OUT.

    Args:
        name: of the benchmark.
        rows: of the table.
        more: kept beside them, such as `growth` (`growth.draw_all`).
    """
    OUT.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine(), "rows": [asdict(row) for row in rows], **more}
    (OUT / f"{name}.json").write_text(json.dumps(content, indent=1))
    print(table(rows))


def panel(title: str, x: str, y: str, points: list[dict], **lines: str) -> dict:
    """A panel of `growth.draw`.

    Args:
        title: of the panel.
        x: key of the sizes in `points`, also the label of the axis.
        y: label of the other axis.
        points: a dict for each size.
        lines: name of a line -> key of its values.
    """
    return {
        "title": title,
        "x": x,
        "y": y,
        "sizes": [point[x] for point in points],
        "lines": {name: [point[key] for point in points] for name, key in lines.items()},
    }


def table(rows: list[Row]) -> str:
    """Rows as a Markdown table."""
    lines = ["| what | measured | quartiles | goal | met | |", "|---|---|---|---|---|---|"]
    for row in rows:
        spread = goal = met = ""
        if row.spread is not None:
            spread = " – ".join(f"{value:.3g}" for value in row.spread)
        if row.goal is not None:
            goal = f"{'≤' if row.at_most else '≥'} {row.goal:g} {row.unit}"
            met = "yes" if row.is_met else "**no**"
        cells = [row.what, f"{row.value:.3g} {row.unit}", spread, goal, met, row.note]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def machine() -> dict[str, object]:
    """Processor, cores, threads and versions: what the numbers depend on."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": sys.version.split()[0],
        **versions,
    }
