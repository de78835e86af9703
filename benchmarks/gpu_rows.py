"""Rows of `benchmarks/gpu.py`: each runs a command in its own process and checks its output."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite, log
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
ROW_SECONDS = 180  # a process that runs longer is considered to hang
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
NO_TF32 = {"NVIDIA_TF32_OVERRIDE": "0"}


class FailureError(Exception):
    """A row failed; the message is one line."""


class OutOfTimeError(Exception):
    """The time for all rows ran out before the row ended."""


@dataclass(frozen=True)
class Recipes:
    """A folder of recipes with overrides for the generated images.

    Attributes:
        folder: name of a folder in scripts/pretrain.
        batch: images per step, over all processes.
        overrides: overrides of every command.
    """

    folder: str
    batch: int
    overrides: tuple[str, ...]


@dataclass
class Bench:
    """Runs commands within the remaining time and checks the files that they write.

    Attributes:
        device: cuda or cpu.
        work: folder for images and runs; removed at the end.
        out: folder for the table and the output of each row.
        deadline: end of the remaining time, on the clock of `time.monotonic`.
        curves: row -> name of a scalar -> step -> value.
    """

    device: str
    work: Path
    out: Path
    deadline: float
    curves: dict[str, dict[str, dict[int, float]]] = field(default_factory=dict)

    @property
    def left(self) -> float:
        """Remaining time in seconds."""
        return self.deadline - time.monotonic()

    def start(self, row: str, command: list[object], **env: str) -> subprocess.Popen:
        """Starts a process in a group of its own, with its output in the row's log file."""
        folder = self.folder(row)
        folder.mkdir(parents=True, exist_ok=True)
        env = {**os.environ, "HYDRA_FULL_ERROR": "1", **env}
        with self.log(row).open("a") as log:
            return subprocess.Popen(
                list(map(str, command)), cwd=folder, env=env,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def folder(self, row: str) -> Path:
        return self.work / "runs" / row

    def log(self, row: str) -> Path:
        return self.out / f"{row.replace(' ', '-')}.log"

    def last_line(self, row: str) -> str:
        lines = self.log(row).read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "no output")

    def run(self, row: str, command: list[object], **env: str) -> None:
        """Runs a command to its end.

        Raises:
            FailureError: if it fails or hangs.
            OutOfTimeError: if no time remains.
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
        """Runs `pytest -m gpu` and returns its summary line."""
        options = ["-m", "gpu", "-p", "no:cacheprovider", "--rootdir", ROOT, ROOT / "tests"]
        self.run(row, [sys.executable, "-m", "pytest", *options])
        return self.last_line(row)

    def steps(self, row: str, recipes: Recipes) -> str:
        """Runs benchmarks/step.py, whose tables follow the table of rows."""
        tiny = ["--tiny"] if self.device == "cpu" else []
        script = [ROOT / "benchmarks/step.py", recipes.folder, "--device", self.device, *tiny]
        tables = self.work / f"{recipes.folder}.md"
        self.run(row, [sys.executable, *script, "--out", tables])
        return "see below"

    def pretrain(self, row: str, recipes: Recipes, name: str, *overrides: str, **env: str) -> str:
        """Runs `solo-bayesncl pretrain` with a recipe and checks the run."""
        self.run(row, self.command(row, recipes, name, *overrides), **env)
        return self.check(row, recipes)

    def command(self, row: str, recipes: Recipes, name: str, *overrides: str) -> list[object]:
        program = [sys.executable, "-m", "solo_bayesncl", "pretrain"]
        return [*program, *self.arguments(row, recipes, name), *overrides]

    def arguments(self, row: str, recipes: Recipes, name: str) -> list[str]:
        """Arguments of both `solo-bayesncl pretrain` and `main_pretrain.py`."""
        recipe = ["--config-path", f"scripts/pretrain/{recipes.folder}", "--config-name", name]
        return [*recipe, *recipes.overrides, f"checkpoint.dir={self.folder(row) / 'out'}"]

    def main_pretrain(self, row: str, recipes: Recipes, devices: int) -> str:
        """Runs solo-learn's script, for which the number of devices is the length of `devices`."""
        script = Path(os.environ["SOLO_LEARN_CHECKOUT"]).expanduser().resolve() / "main_pretrain.py"
        if self.device == "cpu":  # see docs/solo-learn.md
            processes = ["devices='02'" if devices == 2 else "devices='1'", "sync_batchnorm=False"]
        else:
            processes = [f"devices=[{','.join(map(str, range(devices)))}]"]
        ddp = [*processes, f"optimizer.batch_size={recipes.batch // devices}", "strategy=ddp"]
        self.run(row, [sys.executable, script, *self.arguments(row, recipes, "bayesncl"), *ddp])
        return self.check(row, recipes)

    def check(self, row: str, recipes: Recipes) -> str:
        """Returns InfoNCE, speed and the scale of GradScaler of a run.

        Raises:
            FailureError: if the run has not trained.
        """
        curves, times = read_curves(self.folder(row))
        self.curves[row] = curves
        losses = list(curves.get("train_nce_loss_epoch", {}).values())
        epochs = ", ".join(f"{loss:.3f}" for loss in losses)
        if len(losses) != EPOCHS or not all(map(isfinite, losses)):
            raise FailureError(f"InfoNCE of {EPOCHS} epochs is {epochs or 'missing'}")
        chance = log(2 * recipes.batch - 1)  # InfoNCE of codes that are all equal or all zero
        # the rehearsal is too short to learn
        if self.device == "cuda" and losses[-1] >= min(losses[0], chance):
            raise FailureError(f"nothing is learned: InfoNCE is {epochs}, by chance {chance:.3f}")
        checkpoint = newest_checkpoint(self.folder(row))
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
        """Repeats the run of row `first` and compares the losses."""
        self.pretrain(row, recipes, "bayesncl", *EXACT, **NO_TF32)
        return self.require_equal(row, first)

    def killed(self, row: str, recipes: Recipes, first: str) -> str:
        """Repeats the run of row `first`, killed after its first checkpoint and resumed."""
        command = self.command(row, recipes, "bayesncl", *EXACT)
        process = self.start(row, command, **NO_TF32)
        hangs = time.monotonic() + ROW_SECONDS
        try:
            while not list(self.folder(row).glob("out/*/*/*.ckpt")):
                if self.left <= 0:
                    raise OutOfTimeError
                if time.monotonic() > hangs:
                    raise FailureError(f"no checkpoint after {ROW_SECONDS} s")
                if process.poll() is not None:
                    raise FailureError(f"no checkpoint to kill it after: {self.last_line(row)}")
                time.sleep(0.02)
        finally:
            stop(process)
        if process.returncode != -signal.SIGKILL:
            raise FailureError("it had ended before it was killed")
        self.run(row, command, **NO_TF32)
        if "resuming" not in self.log(row).read_text():
            raise FailureError("it began anew")
        self.curves[row], _ = read_curves(self.folder(row))
        return self.require_equal(row, first)

    def require_equal(self, row: str, first: str) -> str:
        """Compares the steps that both runs have logged: at least those of the last epoch."""
        own, other = (self.curve(name, "train_nce_loss_step") for name in (row, first))
        common = own.keys() & other.keys()
        if max(common, default=-1) != max(other):
            raise FailureError("the last step is missing")
        worst = max(abs(own[step] / other[step] - 1) for step in common)
        if worst > 0:
            raise FailureError(f"InfoNCE of {len(common)} steps differs by up to {worst:.1e}")
        return f"InfoNCE of {len(common)} steps is equal to the last bit"

    def cpu_against_gpu(self, row: str, recipes: Recipes, first: str) -> str:
        """Compares the first step of row `first` with the same step on the CPU."""
        short = ("accelerator=cpu", "++limit_train_batches=1", "max_epochs=1")
        self.run(row, self.command(row, recipes, "bayesncl", *EXACT, *short))
        self.curves[row], _ = read_curves(self.folder(row))
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
    """Kills a process and its children, if they still run."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def read_curves(folder: Path) -> tuple[dict[str, dict[int, float]], dict[int, float]]:
    """Reads the curves of the only run in a folder.

    TensorBoard's file is in the run's folder, or in `lightning_logs` for solo-learn's script.

    Returns:
        name -> step -> value, and step -> time at which its loss was logged.
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
