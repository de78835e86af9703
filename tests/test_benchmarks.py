"""The benchmarks' shared parts, and one rehearsal; times are never tested."""

import json
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def ratios(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import ratios

    return ratios


def test_steps_take_turns_in_changing_order(ratios):
    calls = []
    steps = {name: lambda name=name: calls.append(name) for name in "abc"}
    ticks = count()
    times = ratios.alternate(steps, rounds=3, warmup=1, clock=lambda: next(ticks))
    assert "".join(calls) == "abcbcacababc"
    assert times == {name: [1, 1, 1] for name in "abc"}


def test_ratio_is_the_median_of_the_rounds(ratios):
    value, (lower, upper) = ratios.ratio([2, 9, 4, 6, 10], of=[1, 3, 2, 2, 2])
    assert (value, lower, upper) == (3, 2, 3)


@pytest.mark.parametrize(
    ("value", "goal", "at_most", "met"),
    [
        (1.2, 1.25, True, True),
        (1.3, 1.25, True, False),
        (3.9, 4, False, False),
        (9, None, True, True),
    ],
)
def test_goal_is_a_bound(ratios, value, goal, at_most, met):
    row = ratios.Row("time", value, goal=goal, at_most=at_most)
    assert row.is_met is met
    assert ("**no**" in ratios.table([row])) is not met


def test_peak_memory_counts_what_is_freed_again(ratios):
    torch = pytest.importorskip("torch")
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("Linux alone says what a process held at most")
    megabytes = ratios.peak_memory(lambda: (torch.ones(2**23) + 1).sum()) / 2**20
    assert megabytes == pytest.approx(64, rel=0.2)


def test_rehearsal_writes_the_table_and_the_figure(tmp_path):
    command = [sys.executable, BENCHMARKS / "run.py", "metrics", "--tiny"]
    env = {"PATH": "", "BENCH_OUT": str(tmp_path), "PYTHONPATH": str(BENCHMARKS.parent)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "metrics.json").read_text())["rows"]
    table = (tmp_path / "table.md").read_text()
    assert rows
    assert all(f"| {row['what']} | {row['value']:.3g} " in table for row in rows)
    assert (tmp_path / "metrics.svg").read_text().count("<path") > 10
