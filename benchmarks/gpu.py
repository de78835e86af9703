"""Ten minutes on one GPU, or all there are: the tests marked `gpu`, then a table of real runs.

    make gpu                                # or: python benchmarks/gpu.py
    python benchmarks/gpu.py --device cpu   # rehearsal without a GPU: every row, tiny

Images are made for the purpose. Each row is a command in a process of its own: `solo-bayesncl
pretrain` from a shipped recipe and, if SOLO_LEARN_CHECKOUT names a checkout of solo-learn main, its
unmodified `main_pretrain.py`. InfoNCE and the times of steps are read from the TensorBoard files
that both commands write. `benchmarks/step.py` measures the steps without loading. docs/gpu.md says
how to read the table, which is in gpu/table.md; the output of each row is beside it.

Exit status: 0 if every row that ran passed, 1 if one failed, 2 without a GPU.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from math import isfinite, log
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from solo_bayesncl.hosts import scripts_use_hydra

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 600
LEAST_SECONDS = 20  # a row is not begun with less time than this
ROW_SECONDS = 180  # a process that runs longer hangs
EPOCHS = 4
TOLERANCE = 1e-3  # relative, between the CPU's and the GPU's first losses in float32

# Equal seeds give equal numbers: no TF32, and no max pooling in channels-last, whose gradient is
# summed in any order.
EXACT = (
    "precision=32-true",
    "++deterministic=warn",
    "++performance.disable_channel_last=True",
    "++log_every_n_steps=1",
)
# of the rehearsal on the CPU
TINY = (
    "accelerator=cpu",
    "optimizer.batch_size=8",
    "augmentations.0.crop_size=32",
    "method_kwargs.proj_hidden_dim=128",
    "method_kwargs.proj_output_dim=128",
)


class FailureError(Exception):
    """What went wrong with a row, in one line."""


class OutOfTimeError(Exception):
    """The time of all rows was over before the row had ended."""


@dataclass(frozen=True)
class Recipes:
    """A shipped folder of recipes, fitted to images made here.

    Attributes:
        folder: below scripts/pretrain.
        batch: images per step, of all processes.
        overrides: what a command is given besides.
    """

    folder: str
    batch: int
    overrides: tuple[str, ...]


@dataclass
class Bench:
    """Runs commands within the time that is left and checks what they leave behind.

    Attributes:
        device: cuda or cpu.
        work: for images and runs; removed at the end.
        out: for the table and the output of each row.
        deadline: in the time of `time.monotonic`.
        curves: row -> name of a scalar -> step -> value.
    """

    device: str
    work: Path
    out: Path
    deadline: float
    curves: dict[str, dict[str, dict[int, float]]] = field(default_factory=dict)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()

    def start(self, row: str, command: list[object], **env: str) -> subprocess.Popen:
        """A process, the first of its group, whose output goes to a file of the row's name."""
        folder = self.work / "runs" / row
        folder.mkdir(parents=True, exist_ok=True)
        env = {**os.environ, "HYDRA_FULL_ERROR": "1", **env}
        with self.log(row).open("a") as log:
            return subprocess.Popen(
                list(map(str, command)), cwd=folder, env=env,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def log(self, row: str) -> Path:
        return self.out / f"{row.replace(' ', '-')}.log"

    def last_line(self, row: str) -> str:
        lines = self.log(row).read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "no output")

    def run(self, row: str, command: list[object], **env: str) -> None:
        """Runs a command to its end.

        Raises:
            FailureError: if it fails or hangs.
            OutOfTimeError: if the time is over.
        """
        process = self.start(row, command, **env)
        try:
            status = process.wait(max(0.0, min(ROW_SECONDS, self.left)))
        except subprocess.TimeoutExpired as error:
            if self.left <= 0:
                raise OutOfTimeError from error
            raise FailureError(f"no end after {ROW_SECONDS} s: {self.last_line(row)}") from error
        finally:
            stop(process)
        if status != 0:
            raise FailureError(f"status {status}: {self.last_line(row)}")

    def tests(self, row: str) -> str:
        """pytest's own summary."""
        options = ["-m", "gpu", "-p", "no:cacheprovider", "--rootdir", ROOT, ROOT / "tests"]
        self.run(row, [sys.executable, "-m", "pytest", *options])
        return self.last_line(row)

    def steps(self, row: str, recipes: Recipes) -> str:
        """The tables of benchmarks/step.py, which follow this row's."""
        tiny = ["--tiny"] if self.device == "cpu" else []
        script = [ROOT / "benchmarks/step.py", recipes.folder, "--device", self.device, *tiny]
        tables = self.work / f"{recipes.folder}.md"
        self.run(row, [sys.executable, *script, "--out", tables])
        return "see below"

    def pretrain(self, row: str, recipes: Recipes, name: str, *overrides: str, **env: str) -> str:
        """`solo-bayesncl pretrain` from a recipe."""
        self.run(row, self.command(row, recipes, name, *overrides), **env)
        return self.check(row, recipes)

    def command(self, row: str, recipes: Recipes, name: str, *overrides: str) -> list[object]:
        recipe = ["--config-path", f"scripts/pretrain/{recipes.folder}", "--config-name", name]
        out = f"checkpoint.dir={self.work / 'runs' / row / 'out'}"
        program = [sys.executable, "-m", "solo_bayesncl", "pretrain"]
        return [*program, *recipe, *recipes.overrides, out, *overrides]

    def main_pretrain(self, row: str, recipes: Recipes, devices: int) -> str:
        """solo-learn's script, which takes the length of `devices` for their number."""
        _, _, _, _, *arguments = self.command(row, recipes, "bayesncl")
        script = Path(os.environ["SOLO_LEARN_CHECKOUT"]).expanduser().resolve() / "main_pretrain.py"
        if self.device == "cpu":  # as docs/solo-learn.md has it
            processes = ["devices='02'" if devices == 2 else "devices='1'", "sync_batchnorm=False"]
        else:
            processes = [f"devices={list(range(devices))}"]
        share = f"optimizer.batch_size={recipes.batch // devices}"
        self.run(row, [sys.executable, script, *arguments, *processes, share, "strategy=ddp"])
        return self.check(row, recipes)

    def check(self, row: str, recipes: Recipes) -> str:
        """InfoNCE, speed and the state of GradScaler; raises `FailureError` if one is wrong."""
        curves, times = read_curves(self.work / "runs" / row)
        self.curves[row] = curves
        losses = list(curves.get("train_nce_loss_epoch", {}).values())
        epochs = ", ".join(f"{loss:.3f}" for loss in losses)
        if len(losses) != EPOCHS or not all(map(isfinite, losses)):
            raise FailureError(f"InfoNCE of {EPOCHS} epochs is {epochs or 'missing'}")
        chance = log(2 * recipes.batch - 1)  # of codes that are all alike, or all zero
        # the rehearsal is too short to learn
        if self.device == "cuda" and losses[-1] >= min(losses[0], chance):
            raise FailureError(f"nothing is learned: InfoNCE is {epochs}, by chance {chance:.3f}")
        checkpoint = newest_checkpoint(self.work / "runs" / row)
        if not all(v.isfinite().all() for v in checkpoint["state_dict"].values()):
            raise FailureError("the checkpoint holds weights that are not finite")
        seen = [f"InfoNCE {losses[0]:.3f} → {losses[-1]:.3f} (by chance {chance:.3f})"]
        steps = sorted(times)
        last_epoch = [step for step in steps if step >= steps[-1] * (1 - 1 / EPOCHS)]
        if len(last_epoch) > 1:
            first, last = last_epoch[0], last_epoch[-1]
            images = recipes.batch * (last - first)
            seen.append(f"{images / (times[last] - times[first]):.0f} images/s with loading")
        scales = [v["scale"] for v in checkpoint.values() if isinstance(v, dict) and "scale" in v]
        return ", ".join(seen + [f"GradScaler at {scale:.0f}" for scale in scales])

    def again(self, row: str, recipes: Recipes, first: str) -> str:
        """The run of row `first` once more, with the same numbers."""
        self.pretrain(row, recipes, "bayesncl", *EXACT, NVIDIA_TF32_OVERRIDE="0")
        return self.require_equal(row, first)

    def killed(self, row: str, recipes: Recipes, first: str) -> str:
        """The run of row `first`, killed after its first checkpoint and continued."""
        command = self.command(row, recipes, "bayesncl", *EXACT)
        process = self.start(row, command, NVIDIA_TF32_OVERRIDE="0")
        try:
            while not list((self.work / "runs" / row).glob("out/*/*/*.ckpt")):
                if self.left <= 0:
                    raise OutOfTimeError
                if process.poll() is not None:
                    raise FailureError(f"no checkpoint to kill it after: {self.last_line(row)}")
                time.sleep(0.02)
        finally:
            stop(process)
        if process.returncode != -signal.SIGKILL:
            raise FailureError("it had ended before it was killed")
        self.run(row, command, NVIDIA_TF32_OVERRIDE="0")
        if "resuming" not in self.log(row).read_text():
            raise FailureError("it began anew")
        self.curves[row], _ = read_curves(self.work / "runs" / row)
        return self.require_equal(row, first)

    def require_equal(self, row: str, first: str) -> str:
        """Compares the steps that both runs have written: those of the last epoch at least."""
        own, other = (self.curve(name, "train_nce_loss_step") for name in (row, first))
        common = own.keys() & other.keys()
        if max(common, default=-1) != max(other):
            raise FailureError("the last step is missing")
        worst = max(abs(own[step] / other[step] - 1) for step in common)
        if worst > 0:
            raise FailureError(f"InfoNCE of {len(common)} steps differs by up to {worst:.1e}")
        return f"InfoNCE of {len(common)} steps is equal to the last bit"

    def cpu_against_gpu(self, row: str, recipes: Recipes, first: str) -> str:
        """The first step of row `first` on the CPU: the same weights, images and augmentations."""
        short = ("accelerator=cpu", "++limit_train_batches=1", "max_epochs=1")
        self.run(row, self.command(row, recipes, "bayesncl", *EXACT, *short))
        self.curves[row], _ = read_curves(self.work / "runs" / row)
        differences = {}
        for name in ("train_nce_loss_step", "train_kl_loss_step", "train_class_loss_step"):
            cpu, gpu = (self.curve(key, name)[0] for key in (row, first))
            differences[name.removesuffix("_step")] = abs(gpu / cpu - 1)
        seen = ", ".join(f"{name} {value:.1e}" for name, value in differences.items())
        if max(differences.values()) > TOLERANCE:
            raise FailureError(f"first losses differ by more than {TOLERANCE}: {seen}")
        return f"first losses differ by {seen} (allowed: {TOLERANCE})"

    def curve(self, row: str, name: str) -> dict[int, float]:
        if row not in self.curves:
            raise FailureError(f"the row `{row}` left nothing to compare with")
        return self.curves[row][name]


def stop(process: subprocess.Popen) -> None:
    """Kills a process and those that it started, if they are still there."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def read_curves(folder: Path) -> tuple[dict[str, dict[int, float]], dict[int, float]]:
    """(name -> step -> value, step -> time when its loss was logged) of the only run in a folder.

    TensorBoard's file is in the run's folder, or in the lightning_logs of solo-learn's script.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folders = {path.parent for path in folder.rglob("events.out.tfevents*")}
    if len(folders) != 1:
        raise FailureError(f"{len(folders)} runs have left curves, not one")
    events = EventAccumulator(str(folders.pop()), size_guidance={"scalars": 0})
    events.Reload()
    logged = {name: events.Scalars(name) for name in events.Tags()["scalars"]}
    curves = {name: {e.step: e.value for e in scalars} for name, scalars in logged.items()}
    return curves, {e.step: e.wall_time for e in logged.get("train_nce_loss_step", [])}


def newest_checkpoint(folder: Path) -> dict:
    paths = sorted(folder.glob("out/*/*/*.ckpt"), key=lambda path: path.stat().st_mtime)
    if not paths:
        raise FailureError("there is no checkpoint")
    return torch.load(paths[-1], map_location="cpu", weights_only=True)


def make_images(
    folder: Path, per_class: int, size: tuple[int, int], suffix: str, names: int = 1
) -> None:
    """Ten classes of striped images; each image has colours and a direction of its own.

    Args:
        names: links to each image, so that an epoch is long and making it short.
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
    """Those of CIFAR and of ImageNet-100, with images of such sizes."""
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
    # CIFAR itself cannot be made up: torchvision compares checksums
    cifar = ("data.dataset=custom", f"data.train_path={small}/train", f"data.val_path={small}/val")
    imagenet = (f"data.train_path={large}/train", f"data.val_path={large}/val")
    return (
        Recipes("cifar", 8 if tiny else 256, (*shared, *cifar)),
        Recipes("imagenet-100", 8 if tiny else 128, (*shared, *imagenet)),
    )


def all_rows(bench: Bench) -> dict[str, Callable[[str], str]]:
    """Name of a row -> what it does, which is given that name and says what it saw."""
    cifar, imagenet = make_recipes(bench)
    devices = torch.cuda.device_count() if bench.device == "cuda" else 2
    dali = "dali.device=gpu" if bench.device == "cuda" else "dali.device=cpu"
    imagenet = Recipes(imagenet.folder, imagenet.batch, (*imagenet.overrides, dali))

    def ours(recipes: Recipes, name: str, *overrides: str, **env: str) -> Callable[[str], str]:
        return lambda row: bench.pretrain(row, recipes, name, *overrides, **env)

    rows = {
        "tests marked gpu": bench.tests,
        "fp32": ours(cifar, "bayesncl", *EXACT, NVIDIA_TF32_OVERRIDE="0"),
        "fp32 again": partial(bench.again, recipes=cifar, first="fp32"),
        "fp32 killed and continued": partial(bench.killed, recipes=cifar, first="fp32"),
        "fp32 on the CPU": partial(bench.cpu_against_gpu, recipes=cifar, first="fp32"),
        "steps of CIFAR": partial(bench.steps, recipes=cifar),
        "steps of ImageNet-100": partial(bench.steps, recipes=imagenet),
        "16-mixed": ours(cifar, "bayesncl"),
        "ImageNet-100 through DALI": ours(imagenet, "bayesncl"),
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
        rows[f"16-mixed in {devices} processes"] = ours(cifar, "bayesncl", *share)
    return rows | {
        "bf16-mixed": ours(cifar, "bayesncl", "precision=bf16-mixed"),
        "NCL": ours(cifar, "ncl"),
        "SimCLR": ours(cifar, "simclr"),
    }


def versions() -> str:
    """Card, driver and versions, as a list."""
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
    """Runs the rows and writes the table after each of them; whether all that ran passed."""
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
        try:
            if bench.left < LEAST_SECONDS:
                raise OutOfTimeError
            result, seen = "passed", work(row)
        except OutOfTimeError:
            result, seen = "not run", "time"
        except FailureError as error:
            result, seen, passed = "FAILED", str(error), False
        except Exception as error:  # a fault of this program must not take the other rows with it
            result, seen, passed = "FAILED", f"{type(error).__name__}: {error}", False
        seen = " ".join(seen.replace("|", "/").split())
        spent = time.monotonic() - start
        print(f"{row}: {result}, {spent:.0f} s, {seen} ({bench.left:.0f} s left)", flush=True)
        lines.append(f"| {row} | {result} | {spent:.0f} | {seen} |\n")
        shutil.rmtree(bench.work / "runs" / row, ignore_errors=True)  # checkpoints are large
        tables = [path.read_text() for path in sorted(bench.work.glob("*.md"))]
        (bench.out / "table.md").write_text("\n".join([head + "".join(lines), *tables]))
    return passed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--out", type=Path, default=ROOT / "gpu", help="default: gpu/")
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="these rows alone")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("No CUDA device is found; --device cpu rehearses on the CPU.", file=sys.stderr)
        return 2
    out = args.out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="solo-bayesncl-gpu-") as work:
        bench = Bench(args.device, Path(work), out, time.monotonic() + SECONDS)
        passed = measure(bench, args.only)
    print(f"The table is in {out / 'table.md'}, the output of each row beside it.")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
