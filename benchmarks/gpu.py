"""Tests and benchmarks on all GPUs of this machine, in ten minutes, with a table of the results.

    make gpu                                # or: python benchmarks/gpu.py
    python benchmarks/gpu.py --device cpu   # tiny rehearsal of every row without a GPU

The images are generated. Each row is a command in a process of its own: `pytest -m gpu`,
`benchmarks/step.py`, `solo-bayesncl pretrain` with the recipes and, if SOLO_LEARN_CHECKOUT is the
path of a checkout of solo-learn main, its unmodified `main_pretrain.py`. InfoNCE and the times of
steps are read from TensorBoard files. The table is written to gpu/table.md, the output of each row
next to it. docs/gpu.md explains the table.

Exit status: 0 if every row that ran passed, 1 if one failed, 2 if there is no GPU.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from gpu_rows import EPOCHS, EXACT, NO_TF32, ROOT, Bench, FailureError, OutOfTimeError, Recipes
from PIL import Image

from solo_bayesncl.adapters import scripts_use_hydra

SECONDS = 600
LEAST_SECONDS = 20  # a row only starts if at least this much time is left
# overrides of the rehearsal on the CPU
TINY = (
    "accelerator=cpu",
    "optimizer.batch_size=8",
    "augmentations.0.crop_size=32",
    "method_kwargs.proj_hidden_dim=128",
    "method_kwargs.proj_output_dim=128",
)


def make_images(
    folder: Path, per_class: int, size: tuple[int, int], suffix: str, names: int = 1
) -> None:
    """Generates ten classes of striped images; each image has its own colours and direction.

    Args:
        names: file names per image (symbolic links), so that long epochs are quick to generate.
    """
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[: size[1], : size[0]] * 32 / min(size)
    for split, count in (("train", per_class), ("val", max(1, per_class // 16))):
        for label in range(10):
            target = folder / split / f"class_{label}"
            target.mkdir(parents=True)
            for number in range(count):
                angle = rng.uniform(0, np.pi)
                stripes = np.sin((np.cos(angle) * rows + np.sin(angle) * columns) * (label + 3) / 6)
                dark, light = rng.integers(0, 256, (2, 3))
                pixels = dark + (light - dark) * (stripes[..., None] > 0)
                path = target / f"{number}{suffix}"
                Image.fromarray(pixels.astype("uint8")).save(path)
                for name in range(1, names):
                    (target / f"{number}_{name}{suffix}").symlink_to(path)


def make_recipes(bench: Bench) -> tuple[Recipes, Recipes]:
    """The recipes of CIFAR and of ImageNet-100, with generated images of these sizes."""
    tiny = bench.device == "cpu"
    small, large = bench.work / "small", bench.work / "large"
    make_images(small, 4 if tiny else 512, (32, 32), ".png")
    make_images(large, 2 if tiny else 26, (500, 375), ".jpg", names=2 if tiny else 16)
    shared = (
        f"data.num_workers={1 if tiny else min(8, os.cpu_count() or 1)}",
        f"max_epochs={EPOCHS}",
        "++scheduler.warmup_epochs=1",
        "++log_every_n_steps=4",
        "++enable_progress_bar=False",
        *(TINY if tiny else ()),
    )
    # CIFAR's own files cannot be generated: torchvision verifies their checksums
    cifar = ("data.dataset=custom", f"data.train_path={small}/train", f"data.val_path={small}/val")
    imagenet = (f"data.train_path={large}/train", f"data.val_path={large}/val")
    return (
        Recipes("cifar", 8 if tiny else 256, (*shared, *cifar)),
        Recipes("imagenet-100", 8 if tiny else 128, (*shared, *imagenet)),
    )


def all_rows(bench: Bench) -> dict[str, Callable[[str], str]]:
    """Name of a row -> function that runs it; takes the name and returns the result as text."""
    cifar, imagenet = make_recipes(bench)
    devices = torch.cuda.device_count() if bench.device == "cuda" else 2
    dali = "dali.device=gpu" if bench.device == "cuda" else "dali.device=cpu"
    imagenet = replace(imagenet, overrides=(*imagenet.overrides, dali))

    def pretrain(recipes: Recipes, name: str, *overrides: str, **env: str) -> Callable[[str], str]:
        return lambda row: bench.pretrain(row, recipes, name, *overrides, **env)

    rows = {
        "tests marked gpu": bench.tests,
        "fp32": pretrain(cifar, "bayesncl", *EXACT, **NO_TF32),
        "fp32 again": partial(bench.again, recipes=cifar, first="fp32"),
        "fp32 killed and continued": partial(bench.killed, recipes=cifar, first="fp32"),
        "fp32 on the CPU": partial(bench.cpu_against_gpu, recipes=cifar, first="fp32"),
        "steps of CIFAR": partial(bench.steps, recipes=cifar),
        "steps of ImageNet-100": partial(bench.steps, recipes=imagenet),
        "16-mixed": pretrain(cifar, "bayesncl"),
        "ImageNet-100 through DALI": pretrain(imagenet, "bayesncl"),
    }
    if scripts_use_hydra() and os.environ.get("SOLO_LEARN_CHECKOUT"):
        script = partial(bench.main_pretrain, devices=1)
        rows["main_pretrain.py"] = partial(script, recipes=cifar)
        if bench.device == "cuda":  # its DALI needs a GPU
            rows["main_pretrain.py ImageNet-100 through DALI"] = partial(script, recipes=imagenet)
        if devices > 1:
            script = partial(bench.main_pretrain, devices=devices)
            rows[f"main_pretrain.py in {devices} processes"] = partial(script, recipes=cifar)
    if devices > 1:
        share = (f"devices={devices}", f"optimizer.batch_size={cifar.batch // devices}")
        rows[f"16-mixed in {devices} processes"] = pretrain(cifar, "bayesncl", *share)
    return rows | {
        "bf16-mixed": pretrain(cifar, "bayesncl", "precision=bf16-mixed"),
        "NCL": pretrain(cifar, "ncl"),
        "SimCLR": pretrain(cifar, "simclr"),
    }


def versions() -> str:
    """GPU, driver and versions, as a Markdown list."""
    cards, driver = ["no GPU: a rehearsal on the CPU"], "-"
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        cards = [torch.cuda.get_device_name(index) for index in range(count)]
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        if shutil.which("nvidia-smi"):
            done = subprocess.run(query, capture_output=True, text=True, check=False)
            driver = (done.stdout.split() or ["-"])[0]
    packages = ("torch", "torchvision", "lightning", "pytorch-lightning", "solo-learn")
    found = [*packages, "nvidia-dali-cuda120", "nvidia-dali-cuda130"]
    for index, package in enumerate(found):
        try:
            found[index] = f"{package} {version(package)}"
        except PackageNotFoundError:
            found[index] = ""
    lines = [
        f"Card: {', '.join(cards)}; driver {driver}; CUDA of torch {torch.version.cuda}",
        "Python " + ", ".join([sys.version.split()[0], *filter(None, found)]),
        f"{date.today().isoformat()}, {os.cpu_count()} CPU cores, `{' '.join(sys.argv)}`",
    ]
    return "".join(f"- {line}\n" for line in lines)


def measure(bench: Bench, only: list[str]) -> bool:
    """Runs the rows, writes the table after each, and returns whether all that ran passed."""
    rows = all_rows(bench)
    unknown = set(only) - rows.keys()
    if unknown:
        raise SystemExit(f"--only {', '.join(unknown)}: the rows are {', '.join(rows)}")
    head = f"# On {bench.device}\n\n{versions()}\n| | | seconds | |\n|---|---|---|---|\n"
    lines, passed = [], True
    for row, work in rows.items():
        if only and row not in only:
            continue
        start = time.monotonic()
        bench.log(row).unlink(missing_ok=True)  # of an earlier call
        try:
            if bench.left < LEAST_SECONDS:
                raise OutOfTimeError
            result, seen = "passed", work(row)
        except OutOfTimeError:
            result, seen = "not run", "time"
        except FailureError as error:
            result, seen, passed = "FAILED", str(error), False
        except Exception as error:  # an error in this program must not stop the other rows
            result, seen, passed = "FAILED", f"{type(error).__name__}: {error}", False
        seen = " ".join(seen.replace("|", "/").split())
        spent = time.monotonic() - start
        print(f"{row}: {result}, {spent:.0f} s, {seen} ({bench.left:.0f} s left)", flush=True)
        lines.append(f"| {row} | {result} | {spent:.0f} | {seen} |\n")
        shutil.rmtree(bench.folder(row), ignore_errors=True)  # checkpoints are large
        tables = [path.read_text() for path in sorted(bench.work.glob("*.md"))]
        (bench.out / "table.md").write_text("\n".join([head + "".join(lines), *tables]))
    return passed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--out", type=Path, default=ROOT / "gpu", help="default: gpu/")
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="run only these rows")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("No CUDA device is found; --device cpu rehearses on the CPU.", file=sys.stderr)
        return 2
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="solo-bayesncl-gpu-") as work:
        bench = Bench(args.device, Path(work), out, time.monotonic() + SECONDS)
        passed = measure(bench, args.only)
    print(f"The table is in {out / 'table.md'}, the output of each row next to it.")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
