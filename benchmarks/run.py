"""All benchmarks, one after the other, each in a process of its own: `make bench` (20 minutes).

    python benchmarks/run.py [NAME ...] [--tiny] [--docs]

Each writes bench/NAME.json. From these files, also of earlier calls, the table of goals is made
(bench/table.md) and the figures of growth (bench/*.svg); `--docs` also puts both into
docs/performance.md. Exit status 1 if a benchmark failed or, without --tiny, missed a goal.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

from growth import draw_all
from ratios import OUT, Row, table

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs/performance.md"
# in the order of the table
BENCHMARKS = {
    "loss": "InfoNCE",
    "step_ratio": "The step",
    "evaluation": "Evaluation",
    "probes": "Linear probes",
    "metrics": "Metrics",
    "input": "Input",
    "start": "Start",
    "processes": "Processes",
    "imagenet": "ImageNet-1K, computed",
}


def run(name: str, tiny: bool) -> bool:
    """Runs a benchmark with its output on the console; whether it succeeded."""
    start = time.monotonic()
    print(f"== {name}", flush=True)
    command = [sys.executable, "-W", "ignore", HERE / f"{name}.py"]
    command += ["--tiny"] if tiny else []
    status = subprocess.run(command, check=False).returncode
    print(f"== {name}: status {status}, {time.monotonic() - start:.0f} s\n", flush=True)
    return status == 0


def results() -> dict[str, dict]:
    """Name -> content of bench/NAME.json, of the benchmarks that have run."""
    paths = {name: OUT / f"{name}.json" for name in BENCHMARKS}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.is_file()}


def rows_of(content: dict) -> list[Row]:
    return [Row(**row) for row in content["rows"]]


def page(found: dict[str, dict]) -> str:
    """Machine and tables as Markdown."""
    machines = [content["machine"] for content in found.values()]
    lines = {
        ", ".join(f"{k} {v}" for k, v in machine.items() if v is not None and k != "threads")
        for machine in machines
    }
    parts = [f"{line}\n" for line in sorted(lines)]
    for name, content in found.items():
        threads = content["machine"]["threads"]
        command = f"`python benchmarks/{name}.py`, {threads} thread{'s' if threads > 1 else ''}"
        parts.append(f"### {BENCHMARKS[name]} ({command})\n\n{table(rows_of(content))}\n")
    return "\n".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--tiny", action="store_true", help="small sizes, to see that all run")
    parser.add_argument("--docs", action="store_true", help="update docs/performance.md")
    args = parser.parse_args()
    if unknown := set(args.names) - BENCHMARKS.keys():
        parser.error(f"{', '.join(unknown)}: the benchmarks are {', '.join(BENCHMARKS)}")
    failed = [name for name in args.names or BENCHMARKS if not run(name, args.tiny)]
    found = results()
    text = page(found)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "table.md").write_text(text)
    draw_all(found, OUT)
    if args.docs:
        draw_all(found, PAGE.with_suffix(""))
        between = r"(?s)(?<=<!-- table -->\n).*(?=<!-- end of table -->)"
        PAGE.write_text(re.sub(between, lambda _: text, PAGE.read_text()))
    rows = [row for content in found.values() for row in rows_of(content)]
    missed = [] if args.tiny else [row.what for row in rows if not row.is_met]
    print(f"The tables are in {OUT / 'table.md'}.")
    for what, names in (("failed", failed), ("goal not met", missed)):
        print(*(f"{what}: {name}" for name in names), sep="\n", end="\n" if names else "")
    return 1 if failed or missed else 0


if __name__ == "__main__":
    sys.exit(main())
