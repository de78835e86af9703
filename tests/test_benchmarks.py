"""The benchmarks' shared parts, and one rehearsal; times are never tested."""

import json
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
from report_data import PX, build_comparison, build_runs, write

from solo_bayesncl.report.formats import formatted

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


@pytest.fixture
def findings(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import findings

    return findings


def test_findings_replace_what_is_between_their_marks(findings, tmp_path):
    folder = tmp_path / "comparisons/findings-digits"
    runs = build_runs(folder / "runs", methods=("ncl", "bayesncl"), seeds=(0, 1, 2))
    comparison = build_comparison(runs)
    write(folder / "comparison.json", comparison)
    (folder / "figures").mkdir()
    for figure in findings.FIGURES["digits"]:
        (folder / f"figures/{figure}.svg").write_text(figure)
    page = tmp_path / "page.md"
    marks = "<!-- {0} -->\n{1}\n<!-- end of {0} -->\n".format
    absent = marks("emoji differences", "as before")
    page.write_text("".join(["above\n", marks("digits differences", "old"), absent, "below\n"]))

    findings.update(page, folder.parent)

    above, table = page.read_text().split("<!-- digits differences -->\n")
    table, below = table.split("<!-- end of digits differences -->\n")
    assert (above, below) == ("above\n", f"{absent}below\n")
    heading, _, row = table.splitlines()
    cells = dict(
        zip(*([c.strip() for c in line.split("|")] for line in (heading, row)), strict=True)
    )
    (difference,) = (
        d for d in comparison["differences"] if d["metric"] == "codes.adjusted_consistency"
    )
    expected = f"{100 * difference['mean']:+.1f} ["
    assert cells["chance-adjusted, as trained"].lstrip("*").startswith(expected.replace("-", "−"))
    assert (tmp_path / "page/digits-lengths.svg").read_text() == "lengths"


def test_page_of_findings_has_a_place_for_every_table(findings):
    page = findings.PAGE.read_text()
    names = [f"{name} {kind}" for name in findings.SETS for kind in findings.KINDS]
    for name in (*names, "gate", findings.EMPTY_ROWS):
        assert page.count(f"<!-- {name} -->") == page.count(f"<!-- end of {name} -->") == 1, name


@pytest.fixture
def readme(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import readme

    return readme


@pytest.fixture
def demo(tmp_path) -> Path:
    """The folder of a finished comparison."""
    runs = build_runs(tmp_path / "runs", seeds=(0, 1, 2))
    write(tmp_path / "comparison.json", build_comparison(runs))
    for run in runs:
        run.rename(run.with_name(run.name.replace("seed", "seed-")))
    return tmp_path


def test_readme_gets_the_numbers_of_the_demo_and_keeps_its_text(readme, demo):
    page = demo / "README.md"
    page.write_text("above\n<!-- demo -->\nold\n<!-- end of demo -->\nbelow\n")
    readme.update(page, demo / "picture.png", demo)
    above, table = page.read_text().split("<!-- demo -->\n")
    table, below = table.split("<!-- end of demo -->\n")
    assert (above, below) == ("above\n", "below\n")
    summary = json.loads((demo / "comparison.json").read_text())["summary"]
    heading, _, *rows = ([cell.strip() for cell in line.split("|")] for line in table.splitlines())
    cells = {row[1]: dict(zip(heading, row, strict=True)) for row in rows}
    assert cells.keys() == readme.ROWS.keys()
    for method, name in readme.NAMES.items():
        mean = summary[method]["codes.semantic_consistency"]["mean"]
        assert cells["semantic consistency"][name].startswith(f"{100 * mean:.1f} ")


def test_picture_of_the_readme_has_squares_of_images_on_a_transparent_ground(readme, demo):
    picture = readme.picture(demo).convert("RGBA")
    side = readme.SIDE * PX
    assert picture.getpixel((picture.width - 1, picture.height - 1))[3] == 0
    for row in range(len(readme.NAMES)):
        for column in range(readme.DIMENSIONS):
            corner = readme.MARGIN + column * (side + readme.GAP), row * (side + readme.CAPTION)
            assert picture.getpixel(corner)[3] == 255


@pytest.mark.parametrize("method", ["ncl", "bayesncl"])
def test_picture_of_the_readme_does_not_choose_the_best_dimensions(readme, demo, method):
    shown = [caption for _, caption in readme.squares(demo / "runs" / method)]
    record = json.loads((demo / f"runs/{method}/seed-0/dimensions.json").read_text())
    live = [one["consistency"] for one in record["dimensions"] if one["support"]]
    best = sorted(live, reverse=True)[: readme.DIMENSIONS]
    assert sorted(shown) != sorted(formatted(value, "share") for value in best)


def test_readme_has_a_place_for_the_demo_and_a_small_picture(readme):
    text = readme.README.read_text()
    assert text.count("<!-- demo -->") == text.count("<!-- end of demo -->") == 1
    assert f"]({readme.PICTURE.relative_to(readme.ROOT)})" in text
    assert readme.PICTURE.stat().st_size < 200_000
