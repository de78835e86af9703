"""Images per second of the input pipelines, `data.augment=image` against `data.augment=batch`.

    python benchmarks/input.py [--tiny]

Both make the two crops of the CIFAR recipe (`scripts/pretrain/cifar`), of generated images, by the
loaders that training uses on a CPU, up to normalised tensors, in as many loader processes as there
are cores: the best number for either. They take turns, in wall time from their first batch on, so
that starting processes does not count. The same in this process and one thread is CPU time.

For photos (JPEG files of 500 x 375 px, crops of 224 px), `batch` decodes and crops in the same
processes, from files and from memory. The rest of its work is for a GPU, which this benchmark does
not have; it is timed with and without.

At last, what the paper's run on CIFAR-100 (50 000 images, 200 epochs) waits for its input.
"""

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image
from ratios import Row, alternate, panel, quartiles, ratio, write_rows

from solo_bayesncl import memory
from solo_bayesncl.adapters import adapter
from solo_bayesncl.data import loaders
from solo_bayesncl.data.augment import colors, resampling
from solo_bayesncl.data.augment.parameters import draw
from solo_bayesncl.data.unreadable import Reading, UnreadableImages
from solo_bayesncl.recipes.compose import compose_recipe
from solo_bayesncl.training import pretraining
from solo_bayesncl.training.batches import BatchLoader
from solo_bayesncl.training.seeding import SeededLoader

CORES = len(os.sched_getaffinity(0))
PAPER = {"images": 50_000, "epochs": 200, "minutes of NCL": 70.95, "minutes of BayesNCL": 75.12}


def save_images(folder: Path, count: int, width: int, height: int, suffix: str) -> None:
    """A folder of `count` smooth images in two classes."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / "train" / str(number % 2) / f"{number}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        small = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(small).resize((width, height), Image.BICUBIC).save(path, quality=90)


def settings(recipes: str, folder: Path, workers: int, batch_size: int) -> DictConfig:
    overrides = [
        "data.dataset=custom", "data.format=image_folder", f"data.train_path={folder}/train",
        "data.val_path=null", f"data.num_workers={workers}", "accelerator=cpu",
        f"optimizer.batch_size={batch_size}",
    ]  # fmt: skip
    return pretraining.prepare(compose_recipe(f"scripts/pretrain/{recipes}", "ncl", overrides))


class Pipeline:
    """A training loader, epoch after epoch."""

    def __init__(self, cfg: DictConfig, augment: str):
        self.trainer = SimpleNamespace(
            current_epoch=0,
            global_rank=0,
            world_size=1,
            strategy=SimpleNamespace(root_device=torch.device("cpu")),
        )
        source = loaders.pretrain_loader(cfg)
        unreadable = UnreadableImages(Reading())
        if augment == "batch":
            self.loader = BatchLoader(source, cfg, self.trainer, unreadable)
        else:
            self.loader = SeededLoader.like(source, cfg.seed, self.trainer, unreadable)
        self.batches = self._batches()

    def _batches(self) -> Iterator[list]:
        while True:
            yield from self.loader
            self.trainer.current_epoch += 1

    def take(self, count: int) -> None:
        for _ in range(count):
            next(self.batches)

    def seconds_per_image(self, count: int, batch_size: int) -> float:
        """Of an epoch's `count` batches after its first, which waits for processes to start."""
        self.batches = self._batches()
        next(self.batches)
        start = time.perf_counter()
        self.take(count)
        return (time.perf_counter() - start) / (count * batch_size)


def in_turns(pipelines: dict[str, Pipeline], batches: int, size: int, rounds: int) -> dict:
    """Seconds per image of each pipeline in each round."""
    for pipeline in pipelines.values():
        pipeline.seconds_per_image(min(2, batches), size)
    times: dict[str, list[float]] = {name: [] for name in pipelines}
    for number in range(rounds):
        names = list(pipelines)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            times[name].append(pipelines[name].seconds_per_image(batches, size))
    return times


def small_rows(folder: Path, size: int, batches: int, rounds: int) -> tuple[list[Row], dict]:
    """Images of 32 px: all cores, and one."""
    cfg = settings("cifar", folder, CORES, size)
    pipelines = {name: Pipeline(cfg, name) for name in ("image", "batch")}
    times = in_turns(pipelines, batches, size, rounds)
    value, spread = ratio(times["image"], times["batch"])
    speeds = {name: 1 / float(np.median(seconds)) for name, seconds in times.items()}
    note = ", ".join(f"{name} {speed:.0f} images/s" for name, speed in speeds.items())
    rows = [
        Row(
            f"input at 32 px, {CORES} cores, batch {size}: `batch` against `image`",
            value, spread, goal=4, at_most=False, note=note,
        )
    ]  # fmt: skip
    cfg = settings("cifar", folder, 0, size)
    pipelines = {name: Pipeline(cfg, name) for name in ("image", "batch")}
    steps = {name: partial(pipeline.take, 1) for name, pipeline in pipelines.items()}
    cpu = alternate(steps, rounds=2 * rounds, clock=time.process_time)
    value, spread = ratio(cpu["image"], cpu["batch"])
    of_core = {name: size / float(np.median(seconds)) for name, seconds in cpu.items()}
    note = ", ".join(f"{name} {speed:.0f} images/s" for name, speed in of_core.items())
    what = "the same in CPU time, one process and thread"
    rows.append(Row(what, value, spread, note=note))
    return rows, {"images/s": speeds, "images/s of a core": of_core}


def batch_size_points(folder: Path, sizes: list[int]) -> list[dict]:
    """CPU time of `batch` against the batch size, one thread."""
    points = []
    for size in sizes:
        pipeline = Pipeline(settings("cifar", folder, 0, size), "batch")
        spent = alternate({"batch": partial(pipeline.take, 1)}, 7, clock=time.process_time)
        points.append({"batch size": size, "images/s": size / float(np.median(spent["batch"]))})
    return points


def process_points(folder: Path, size: int, most: int, seconds: float) -> list[dict]:
    """Images/s of independent processes with one thread each, as those of DDP."""
    context = torch.multiprocessing.get_context("spawn")
    points = []
    for processes in range(1, most + 1):
        with context.Pool(processes) as pool:
            speeds = pool.starmap(_speed, [(folder, size, seconds)] * processes, chunksize=1)
        points.append({"processes": processes, "images/s": sum(speeds)})
    return points


def _speed(folder: Path, size: int, seconds: float) -> float:
    torch.set_num_threads(1)
    pipeline = Pipeline(settings("cifar", folder, 0, size), "batch")
    pipeline.take(2)
    start, batches = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        pipeline.take(1)
        batches += 1
    return batches * size / (time.perf_counter() - start)


def operation_rows(count: int) -> list[Row]:
    """CPU time of each operation for a crop of 32 px, one thread, in groups as they come."""
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
    uniform = torch.rand(count)
    boxes = torch.randint(0, 8, (count, 4)) + torch.tensor([0, 0, 16, 16])
    operations: dict[str, Callable[[], object]] = {
        "random numbers": lambda: draw(0, np.arange(count), 0),
        "crop": lambda: resampling.resized_crops(images, boxes, 32),
        "brightness": lambda: colors.adjust_brightness(images, 2 * uniform),
        "contrast": lambda: colors.adjust_contrast(images, 2 * uniform),
        "saturation": lambda: colors.adjust_saturation(images, 2 * uniform),
        "hue": lambda: colors.adjust_hue(images, uniform - 0.5),
        "grayscale": lambda: colors.grayscale(images),
        "blur": lambda: resampling.gaussian_blur(images, 0.1 + 1.9 * uniform),
        "solarization": lambda: colors.solarize(images),
        "equalization": lambda: colors.equalize(images),
        "flip": lambda: images.flip(-1),
    }
    times = alternate(operations, clock=time.process_time)
    each = {name: np.array(seconds) / count * 1e6 for name, seconds in times.items()}
    return [
        Row(f"{name}, a crop of 32 px", float(np.median(us)), quartiles(us.tolist()), unit="us")
        for name, us in each.items()
    ]


def photo_rows(
    folder: Path, size: int, batches: int, rounds: int
) -> tuple[list[Row], dict[str, float]]:
    """JPEG files of 500 x 375 px, cropped to 224; and the photos that a core does in a second."""
    cfg = settings("imagenet-100", folder, CORES, size)
    pipelines = {
        "image": Pipeline(cfg, "image"),
        "batch, all on the CPU": Pipeline(cfg, "batch"),
        "batch, crops of images in memory": Pipeline(cfg, "batch"),
    }
    available, memory.available = memory.available, lambda: 0
    pipelines["batch, decoding and crops"] = Pipeline(cfg, "batch")
    memory.available = available
    for name in ("batch, crops of images in memory", "batch, decoding and crops"):
        pipelines[name].loader.loader.dataset.finish = False  # which a GPU would do
    times = in_turns(pipelines, batches, size, rounds)
    per_core = {name: 1 / float(np.median(spent)) / CORES for name, spent in times.items()}
    rows = []
    for name in list(pipelines)[1:]:
        value, spread = ratio(times["image"], times[name])
        note = ", ".join(f"{1 / float(np.median(times[key])):.0f}" for key in ("image", name))
        what = f"photos, {CORES} processes: `{name}` against `image`"
        rows.append(Row(what, value, spread, note=f"{note} images/s"))
    return rows, {"augmented": per_core["image"], "read": per_core["batch, decoding and crops"]}


def paper_rows(speeds: dict[str, dict[str, float]]) -> list[Row]:
    """Hours that the input of the paper's run on CIFAR-100 takes, and cores that hide it."""
    images = PAPER["images"] * PAPER["epochs"]
    rows = []
    for name, speed in speeds["images/s of a core"].items():
        hours = images / speed / 3600
        cores = hours * 60 / PAPER["minutes of NCL"]
        note = f"{cores:.1f} cores make it in the paper's {PAPER['minutes of NCL']} minutes"
        what = f"CIFAR-100, {PAPER['epochs']} epochs: input by `{name}` on one core"
        rows.append(Row(what, hours, unit="h", note=note))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="few small batches, in seconds")
    tiny = parser.parse_args().tiny
    size, batches, rounds = (8, 2, 2) if tiny else (256, 20, 7)
    adapter().patch_solo_learn()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_images(folder / "small", size * (batches + 4), 32, 32, ".png")
        save_images(folder / "photos", 16 if tiny else 256, 500, 375, ".jpg")
        rows, speeds = small_rows(folder / "small", size, batches, rounds)
        rows += paper_rows(speeds)
        rows += operation_rows(8 if tiny else 64)
        sizes = [4, 8] if tiny else [32, 64, 128, 256, 512, 1024]
        by_size = batch_size_points(folder / "small", sizes)
        most, seconds = (1, 0.1) if tiny else (CORES, 5)
        by_processes = process_points(folder / "small", size, most, seconds)
        size, batches = (4, 2) if tiny else (32, 5)
        of_photos, per_core = photo_rows(folder / "photos", size, batches, rounds)
    growth = [
        panel("batch, one core", "batch size", "images/s", by_size, batch="images/s"),
        panel("batch, a core each", "processes", "images/s", by_processes, batch="images/s"),
    ]
    write_rows("input", rows + of_photos, growth=growth, photos_per_core=per_core)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
