"""Time of an evaluation relative to the pass of its images through the model, and its memory.

    python benchmarks/evaluation.py [--train 5679] [--val 1911] [--classes 99] [--threads 2]
                                    [--rounds 2] [--cpu-time] [--tiny]

Makes images of 32 px and BayesNCL runs with random weights, of resnet18 with solo-learn's stem for
CIFAR (3 x 3 convolution, no pooling) and with ImageNet's, which costs a tenth at 32 px. They are
evaluated on the CPU as by `solo-bayesncl evaluate`, from opening the run to the numbers. "The pass"
is what cannot be avoided: reading the images and computing the model's outputs. It is measured
twice: as a plain loop of `model(images)` over the same loaders, in turns with the evaluation, and
by clocks around reading and model within the evaluation. Loaders have no processes of their own, so
these times add up. The start of the program, which imports torch and solo-learn, is measured apart.

Growth: outputs made of random numbers (512 features, 2048-dimensional codes) take the place of a
model's, so that what is measured is the evaluation alone; training images pass as in ImageNet's
training split, without being kept. Memory is the peak beyond what the process held before.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from PIL import Image
from ratios import Row, alternate, panel, peak_memory, quartiles, ratio, write_rows
from torch import Tensor

from solo_bayesncl.data.unreadable import ReadableLoader
from solo_bayesncl.evaluation import encoding, forward, measurement, probes
from solo_bayesncl.evaluation.encoding import encode_splits, evaluation_loaders
from solo_bayesncl.evaluation.evaluated_model import EvaluatedModel
from solo_bayesncl.evaluation.forward import Outputs
from solo_bayesncl.evaluation.options import Options
from solo_bayesncl.evaluation.record import evaluation_of
from solo_bayesncl.evaluation.training_split import training_split, with_indexes
from solo_bayesncl.files import write_json
from solo_bayesncl.recipes.compose import compose_recipe
from solo_bayesncl.runs import Run
from solo_bayesncl.runs.models import load_model
from solo_bayesncl.training.pretraining import build, prepare

RECIPES = Path(__file__).resolve().parents[1] / "scripts" / "pretrain" / "demo"
STEMS = {"cifar100": "CIFAR's stem", "custom": "ImageNet's stem"}  # by the data set of the run
FEATURES, DIMS = 512, 2048


def make_images(folder: Path, count: int, classes: int) -> None:
    """Images of 32 px: waves that tell the class, and noise."""
    rng = np.random.default_rng(count)
    y, x = np.mgrid[:32, :32]
    for number in range(count):
        label = number % classes
        wave = np.sin((label % 10 + 1) * x / 5 + (label // 10 + 1) * y / 5)[..., None]
        pixels = 128 + 60 * wave * [1, label / classes, -1] + rng.normal(0, 25, (32, 32, 3))
        target = folder / f"class_{label:03d}"
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype("uint8")).save(target / f"{number}.png")


def make_run(folder: Path, dataset: str) -> Path:
    """A run's folder, with random weights: BayesNCL of 256 dimensions, pretrained on `dataset`."""
    overrides = [
        f"data.dataset={dataset}", f"data.train_path={folder}/train", f"data.val_path={folder}/val",
        "data.num_workers=0", "augmentations.0.crop_size=32", "method_kwargs.proj_output_dim=256",
        "optimizer.batch_size=128", "accelerator=cpu", "precision=32-true",
    ]  # fmt: skip
    cfg = prepare(compose_recipe(str(RECIPES), "bayesncl_glyphs", overrides), data=False)
    torch.manual_seed(0)
    model = build(cfg)
    run = folder / "runs" / dataset
    run.mkdir(parents=True)
    write_json(run / "args.json", OmegaConf.to_container(cfg))
    torch.save({"state_dict": model.state_dict(), "global_step": 0}, run / f"{dataset}-ep=0.ckpt")
    return run


class Clocks:
    """Seconds spent in functions, by name."""

    def __init__(self, clock: Callable[[], float]):
        self.clock = clock
        self.seconds: dict[str, float] = defaultdict(float)
        self.patches = ExitStack()

    def time(self, name: str, place: ModuleType | type, function: str) -> None:
        timed = getattr(place, function)

        def measured(*args, **kwargs):
            start = self.clock()
            try:
                return timed(*args, **kwargs)
            finally:
                self.seconds[name] += self.clock() - start

        self.patches.enter_context(patch.object(place, function, measured))

    def time_reading(self) -> None:
        iterate = ReadableLoader.__iter__

        def measured(loader: ReadableLoader) -> Iterator:
            start = self.clock()
            for batch in iterate(loader):
                self.seconds["reading"] += self.clock() - start
                yield batch
                start = self.clock()
            self.seconds["reading"] += self.clock() - start

        self.patches.enter_context(patch.object(ReadableLoader, "__iter__", measured))


def time_rows(run: Path, options: Options, rounds: int, clock: Callable[[], float]) -> list[Row]:
    """An evaluation against the pass."""
    stem = STEMS[run.name]
    opened = Run.open(run)
    model = load_model(opened)
    shares, parts = [], []

    @torch.no_grad()
    def plain() -> None:
        for loader in evaluation_loaders(opened.cfg, options):
            for images, _ in loader:
                model(images)

    def evaluate() -> None:
        clocks = Clocks(clock)
        with clocks.patches:
            clocks.time_reading()
            clocks.time("model", forward, "forward_images")
            clocks.time("code lengths", measurement, "at_code_lengths")
            clocks.time("probes", probes, "feature_selection")
            clocks.time("opening", encoding, "load_model")
            clocks.time("all", sys.modules[__name__], "_evaluate")
            _evaluate(run, options)
        seconds = dict(clocks.seconds)
        whole = seconds.pop("all")
        shares.append(100 * (seconds["reading"] + seconds["model"]) / whole)
        parts.append(seconds | {"the rest, metrics": whole - sum(seconds.values())})

    def quick() -> None:
        _evaluate(run, replace(options, quick=True))

    steps = {"plain": plain, "evaluate": evaluate, "quick": quick}
    times = alternate(steps, rounds=rounds, warmup=0, clock=clock)
    medians = {name: statistics.median(part[name] for part in parts) for name in parts[0]}
    note = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in medians.items())
    pass_s, whole_s, quick_s = (statistics.median(times[name]) for name in steps)
    relative, spread = ratio(times["evaluate"], times["plain"])
    quick_relative, quick_spread = ratio(times["quick"], times["plain"])
    return [
        Row(f"{stem}: evaluation / pass of the images", relative, spread, 1.25,
            note=f"{whole_s:.1f} s / {pass_s:.1f} s"),
        Row(f"{stem}: evaluation with --quick / pass of the images", quick_relative, quick_spread,
            1.25, note=f"{quick_s:.1f} s / {pass_s:.1f} s"),
        Row(f"{stem}: share of model and reading in the evaluation", statistics.median(shares),
            quartiles(shares), 85, at_most=False, unit="%", note=note),
    ]  # fmt: skip


def _evaluate(run: Path, options: Options) -> dict:
    return evaluation_of(encode_splits(run, options))


def start_row() -> Row:
    """Seconds until a program has imported what an evaluation needs."""
    modules = "solo_bayesncl.evaluation.record, solo_bayesncl.evaluation.encoding"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-W", "ignore", "-c", f"import {modules}"], check=True)
    return Row("start: importing torch and solo-learn", time.perf_counter() - start, unit="s")


def random_outputs(count: int, classes: int) -> Outputs:
    """Of a method with a gate: half of the dimensions are open, and a tenth of those active."""
    projections = torch.rand(count, DIMS) * (torch.rand(count, DIMS) < 0.1)
    probs = torch.rand(count, DIMS)
    mask = (probs > 0.5).float()
    return Outputs(
        torch.rand(count, FEATURES), F.normalize(projections * mask), torch.arange(count) % classes,
        F.normalize(projections), torch.rand(count, classes), probs, mask,
    )  # fmt: skip


def training_points(sizes: list[int], val_size: int, classes: int) -> list[dict[str, float]]:
    """Seconds and peak memory of passing training splits of these sizes."""
    val, batch = random_outputs(val_size, classes), random_outputs(256, classes)
    points = []
    for size in sizes:
        labels = torch.arange(size) % classes

        def step(labels: Tensor = labels) -> None:
            outputs = {"feats": batch.feats, "codes": batch.codes}
            batches = (
                ({name: value[: len(part)] for name, value in outputs.items()}, part)
                for part in labels.split(len(batch.labels))
            )
            training_split(with_indexes(batches, ()), labels, val, torch.device("cpu"))

        points.append({"training images": size, **_cost(step)})
    return points


def validation_points(model: EvaluatedModel, sizes: list[int]) -> list[dict[str, float]]:
    """Seconds and peak memory of all metrics, without the probes."""
    points = []
    for size in sizes:
        val = random_outputs(size, len(model.classes))
        train = replace(model.train, codes=val.codes, feats=val.feats, labels=val.labels)
        of_size = replace(model, val=val, train=train, embeddings=val.feats, factors={})
        with (
            patch.object(probes, "feature_selection", lambda *args, **kwargs: {"8": 0.0}),
            patch.object(probes.WarmStartedProbe, "accuracy", lambda *args: 0.0),
        ):
            cost = _cost(lambda m=of_size: measurement.measure(replace(m)))
        points.append({"validation images": size, **cost})
    return points


def _cost(step: Callable[[], object]) -> dict[str, float]:
    start = time.perf_counter()
    memory = peak_memory(step)  # which takes the step twice
    return {"seconds": (time.perf_counter() - start) / 2, "MB": memory / 2**20}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=5679, help="images")
    parser.add_argument("--val", type=int, default=1911, help="images")
    parser.add_argument("--classes", type=int, default=99)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="of the process, for busy machines")
    parser.add_argument("--tiny", action="store_true", help="few images, to try the script")
    args = parser.parse_args(arguments)
    training, validation = [25_000, 50_000, 100_000, 200_000], [1000, 2000, 4000]
    if args.tiny:
        args.train, args.val, args.classes, args.rounds = 128, 40, 4, 2
        training, validation = [500, 1000], [50, 100]
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.cpu_time else time.perf_counter
    with tempfile.TemporaryDirectory() as folder:
        options = Options(data=Path(folder), device="cpu", workers=0)
        make_images(options.data / "train", args.train, args.classes)
        make_images(options.data / "val", args.val, args.classes)
        runs = [make_run(options.data, dataset) for dataset in STEMS]
        rows = [row for run in runs for row in time_rows(run, options, args.rounds, clock)]
        rows.append(start_row())
        model = encode_splits(runs[-1], options)
    by_training = training_points(training, validation[0], args.classes)
    by_validation = validation_points(model, validation)
    first, last = by_training[0], by_training[-1]
    rows.append(
        Row(
            f"memory for {last['training images']} / {first['training images']} training images",
            last["MB"] / first["MB"],
            note=f"{last['MB']:.0f} MB / {first['MB']:.0f} MB, 20 000 codes of {DIMS} among them",
        )
    )
    growth = [
        panel("Time", "training images", "s", by_training, evaluation="seconds"),
        panel("Memory", "training images", "MB", by_training, evaluation="MB"),
        panel("Time", "validation images", "s", by_validation, evaluation="seconds"),
        panel("Memory", "validation images", "MB", by_validation, evaluation="MB"),
    ]
    write_rows("evaluation", rows, growth=growth)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
