"""Training that is killed again and again ends as if undisturbed, and a long one stays small.

    python benchmarks/soak.py                     # 30 kills with 1 process, 30 with 2, 200 epochs
    python benchmarks/soak.py --kills 10 --processes 2 --epochs 0

A tiny run is killed by `kill -9` at random moments: within epochs, while a checkpoint is being
written, right after one. The same command continues it. In the end its weights, its optimizer's
state and its curves must equal those of an undisturbed run, bit for bit. Then memory and open files
of a run of many epochs are measured at each checkpoint. Linux only.

Exit status: 0 if all is equal and nothing grows, else 1.
"""

import argparse
import csv
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import Process, get_context
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image

ROOT = Path(__file__).parents[1]
SUPPORT = ROOT / "tests/support"

sys.path.insert(0, str(SUPPORT))
from narrow_resnet import narrow_resnet18  # noqa: E402

torchvision.models.resnet18 = narrow_resnet18  # before solo-learn imports it

import solo_bayesncl.__main__  # noqa: E402
import solo_bayesncl.training.pretraining  # noqa: E402
from solo_bayesncl import adapters  # noqa: E402

torch.set_num_threads(1)

SECONDS = 300  # without progress
MOMENTS = ("within an epoch", "while a checkpoint is written", "after a checkpoint")
EPOCHS_PER_KILL = 2
WARM_UP = 20  # epochs, before memory is compared
MAX_GROWTH = 20  # KB an epoch: that of Python's heap while it settles is 5
SHOWN = 10  # rows of the table of memory


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=30, metavar="N", help="default: 30")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--epochs", type=int, default=200, metavar="N", help="default: 200")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    args = parser.parse_args()
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    print(f"solo-learn {adapters.find()[0]}, {versions}")
    passed = []
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        make_images(images)
        for processes in args.processes if args.kills else []:
            out = Path(folder) / str(processes)
            passed.append(kills(images, out, processes, args.kills, random.Random(args.seed)))
        if args.epochs:
            passed.append(epochs(images, Path(folder) / "long", args.epochs))
    return 0 if all(passed) else 1


def make_images(folder: Path) -> None:
    """Two classes of 16 noisy images of 16 px, and 4 for validation."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 4)):
        for label in range(2):
            target = folder / split / f"class_{label}"
            target.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(target / f"{number}.png")


def start(images: Path, out: Path, processes: int, max_epochs: int) -> Process:
    """Training of a narrow network, of four steps an epoch."""
    arguments = ["pretrain", "--config-path", str(ROOT / "scripts/pretrain/custom")]
    arguments += [
        "--config-name", "bayesncl", f"data.train_path={images}/train", f"checkpoint.dir={out}",
        f"data.val_path={images}/val", "data.num_workers=0", "accelerator=cpu",
        f"devices={processes}", f"optimizer.batch_size={8 // processes}",
        f"max_epochs={max_epochs}", "augmentations.0.crop_size=8", "precision=32-true",
        "method_kwargs.proj_hidden_dim=16", "method_kwargs.proj_output_dim=8",
        "++enable_progress_bar=False", "++log_every_n_steps=1",
    ]  # fmt: skip
    process = get_context("fork").Process(target=train, args=(arguments, processes, f"{out}.log"))
    process.start()
    return process


def train(arguments: list[str], processes: int, log: str) -> None:
    """The life of a started process, which has imported everything; DDP needs a program."""
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if processes == 1:
        os._exit(solo_bayesncl.__main__.main(arguments))
    paths = [str(ROOT), str(SUPPORT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "solo_bayesncl", *arguments]
    os.execve(sys.executable, command, environment)


def kills(images: Path, out: Path, processes: int, count: int, rng: random.Random) -> bool:
    """Kills a run `count` times; prints when, and whether it ends as an undisturbed one."""
    print(f"\n{count} kills, {processes} process(es)\n\n| kill | moment | epochs saved | seconds |")
    print("|---|---|---|---|")
    max_epochs = EPOCHS_PER_KILL * count
    expected = finish(
        start(images, out / "undisturbed", processes, max_epochs), out / "undisturbed"
    )
    killed, begin = out / "killed", time.monotonic()
    for number in range(1, count + 1):
        process = start(images, killed, processes, max_epochs)
        moment = rng.choice(MOMENTS)
        reached = wait_for(moment, process, killed, rng.uniform(0, 1))
        process.kill()
        process.join()
        saved = max((epoch_of(path) + 1 for path in killed.glob("*/*/*.ckpt")), default=0)
        seconds = time.monotonic() - begin
        print(f"| {number} | {reached} | {saved} of {max_epochs} | {seconds:.0f} |", flush=True)
    run = finish(start(images, killed, processes, max_epochs), killed)
    found = {part: equal(run, expected, part) for part in ("weights", "optimizer")}
    found["curves"] = rows(run) == rows(expected)
    found["one folder"] = len(list(killed.glob("*/*/"))) == 1
    found["nothing half-written"] = not list(run.glob("*.partial"))
    print("\n" + ", ".join(f"{name}: {'yes' if same else 'NO'}" for name, same in found.items()))
    return all(found.values())


def wait_for(moment: str, process: Process, out: Path, delay: float) -> str:
    """Returns at a moment of training; says which it has been."""
    name = {MOMENTS[0]: "metrics.csv", MOMENTS[1]: "*.partial", MOMENTS[2]: "*.ckpt"}[moment]
    before, deadline = written(out, name), time.monotonic() + SECONDS
    while process.is_alive() and time.monotonic() < deadline:
        if written(out, name) - before:
            time.sleep(delay if moment == MOMENTS[0] else 0)
            return moment
    return "at its end"


def written(out: Path, name: str) -> set[tuple[str, int]]:
    """Files of a run and when they were written."""
    found = set()
    for path in out.glob(f"*/*/{name}"):
        with suppress(FileNotFoundError):  # it is being renamed
            found.add((path.name, path.stat().st_mtime_ns))
    return found


def finish(process: Process, out: Path) -> Path:
    """Waits for the end of training; returns the run's folder."""
    process.join()
    if process.exitcode != 0:
        sys.exit(
            f"training ended with status {process.exitcode}:\n{Path(f'{out}.log').read_text()}"
        )
    (folder,) = out.glob("*/*/")
    return folder


def last_checkpoint(run: Path) -> dict:
    """What training depends on."""
    content = torch.load(max(run.glob("*.ckpt"), key=epoch_of), weights_only=True)
    # without options, to which loading adds some without effect
    states = [optimizer["state"] for optimizer in content["optimizer_states"]]
    return {"weights": content["state_dict"], "optimizer": states}


def epoch_of(checkpoint: Path) -> int:
    return int(checkpoint.stem.rpartition("=")[2])


def equal(run: Path, expected: Path, part: str) -> bool:
    """Whether a part of the last checkpoints is the same, bit for bit."""
    first, second = (dict(leaves(last_checkpoint(folder)[part])) for folder in (run, expected))
    return first.keys() == second.keys() and all(
        torch.equal(value, second[place]) if torch.is_tensor(value) else value == second[place]
        for place, value in first.items()
    )


def leaves(content: object, place: tuple = ()) -> Iterator[tuple[tuple, object]]:
    """(place, value) of nested dicts and lists."""
    if not isinstance(content, dict | list | tuple):
        yield place, content
        return
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield from leaves(value, (*place, key))


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def epochs(images: Path, out: Path, count: int) -> bool:
    """Prints memory and open files of a long run; returns whether neither grows."""
    print(f"\n{count} epochs, 1 process\n\n| epoch | memory (MB) | open files |\n|---|---|---|")
    process, begin = start(images, out, 1, count), time.monotonic()
    proc, measured = Path(f"/proc/{process.pid}"), {}
    while process.is_alive() and len(measured) < count:
        for path in out.glob("*/*/*.ckpt"):
            if epoch_of(path) not in measured:
                measured[epoch_of(path)] = (resident_kb(proc), len(list((proc / "fd").iterdir())))
        time.sleep(0.01)
    finish(process, out)
    kept = {epoch: values for epoch, values in measured.items() if epoch >= WARM_UP}
    for epoch in list(measured)[:: max(1, len(measured) // SHOWN)]:
        memory, files = measured[epoch]
        print(f"| {epoch + 1} | {memory / 1024:.1f} | {files} |")
    memory, files = np.array(list(kept.values())).T
    growth = float(np.polyfit(list(kept), memory, 1)[0])
    print(
        f"\nfrom epoch {WARM_UP}: {growth:+.2f} KB an epoch, {files.min()} to {files.max()} open "
        f"files; {time.monotonic() - begin:.0f} seconds"
    )
    return growth < MAX_GROWTH and np.median(files[-20:]) <= np.median(files[:20])


def resident_kb(proc: Path) -> int:
    (line,) = (x for x in (proc / "status").read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1])


if __name__ == "__main__":
    sys.exit(main())
