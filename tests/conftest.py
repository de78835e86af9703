"""Fixtures: tiny image folders and recipes, real solo-learn, real files."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import settings as hypothesis_settings
from narrow_resnet import narrow_resnet18
from PIL import Image
from process_group import ProcessPool
from report_data import build_comparison, build_runs
from torch import nn

from solo_bayesncl.adapters import adapter
from solo_bayesncl.report.page import write_page
from solo_bayesncl.report.run import RunReport

ROOT = Path(__file__).parents[1]
SUPPORT = Path(__file__).parent / "support"
RECIPES = ROOT / "scripts"
GOLDEN = Path(__file__).parent / "golden"

hypothesis_settings.register_profile("tests", deadline=None, max_examples=25)
hypothesis_settings.load_profile("tests")
torch.set_num_threads(1)


# first, or one core waits for the other at the end
SLOWEST = ("compare", "distributed", "commands", "participants", "contrastive", "dali", "matrix",
           "gpu", "explanation")  # fmt: skip


def pytest_collection_modifyitems(items):
    rank = {f"test_{name}": place for place, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))
    if not torch.cuda.is_available():
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device, none is found"))


def golden_case(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    """(settings, arrays as float64 tensors) of a golden file."""
    arrays = np.load(path)
    tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    return json.loads(path.with_suffix(".json").read_text()), tensors


def make_images(folder: Path, classes: int, per_class: int, size: int = 32, suffix: str = ".png"):
    """A folder of noisy images, each class with a colour and a stripe of its own."""
    rng = np.random.default_rng(0)
    for label in range(classes):
        target = folder / f"class_{label}"
        target.mkdir(parents=True)
        for number in range(per_class):
            pixels = rng.integers(0, 80, (size, size, 3))
            pixels[:, :, label % 3] += 120
            pixels[(label * 5) % size :: 8] += 50
            Image.fromarray(pixels.clip(0, 255).astype("uint8")).save(target / f"{number}{suffix}")


@pytest.fixture(scope="session")
def process_pool() -> Iterator[ProcessPool]:
    pool = ProcessPool()
    yield pool
    pool.close()


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """`train/` (6 classes of 8 images) and `val/` (6 classes of 4 images), PNG files of 32 px."""
    folder = tmp_path_factory.mktemp("images")
    make_images(folder / "train", classes=6, per_class=8)
    make_images(folder / "val", classes=6, per_class=4)
    return folder


@pytest.fixture(scope="session")
def jpegs(tmp_path_factory) -> Path:
    """The same as JPEG files of 40 px."""
    folder = tmp_path_factory.mktemp("jpegs")
    make_images(folder / "train", classes=6, per_class=8, size=40, suffix=".jpg")
    make_images(folder / "val", classes=6, per_class=4, size=40, suffix=".jpg")
    return folder


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """A small CIFAR-10 in torchvision's files; only their checksums are not the real ones."""
    from torchvision.datasets import CIFAR10

    folder = tmp_path / "datasets" / CIFAR10.base_folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("train_list", "test_list"):
        files = [file for file, _ in getattr(CIFAR10, name)]
        monkeypatch.setattr(CIFAR10, name, [(file, None) for file in files])
        for file in files:
            content = {
                "data": rng.integers(0, 256, (10, 3072), dtype="uint8"),
                "labels": list(range(10)),
            }
            (folder / file).write_bytes(pickle.dumps(content))
    names = {"label_names": [f"class {i}" for i in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(names))
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": None})
    return folder.parent


def backbones_of_main() -> dict[str, Callable]:
    return getattr(adapter().BaseMethod, "_BACKBONES", {})


@contextmanager
def backbone(build: Callable[..., nn.Module], of_main: Callable | None = None) -> Iterator[None]:
    """Another backbone under the name resnet18; `of_main` is for the table of solo-learn main."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchvision.models.resnet18", build)  # where 1.0.2 takes it from
        patch.setitem(backbones_of_main(), "resnet18", of_main or build)
        yield


@pytest.fixture(scope="session")
def resnet18() -> tuple[Callable, Callable | None]:
    """The real one of torchvision, and that of solo-learn main."""
    return torchvision.models.resnet18, backbones_of_main().get("resnet18")


@pytest.fixture
def whole_backbone(narrow_backbone, resnet18) -> Iterator[None]:
    """The real resnet18 again, for one test of a module that has `narrow_backbone`."""
    with backbone(*resnet18):
        yield


@pytest.fixture(scope="module")
def narrow_backbone(resnet18) -> Iterator[None]:
    """A small backbone under the name resnet18, in processes that tests start, too.

    A step with it takes a third of the time; for tests in which the backbone does not matter.
    """
    with backbone(narrow_resnet18), pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(SUPPORT), prepend=os.pathsep)
        yield


def record_log(model, read: Callable = float) -> dict[str, float]:
    """Values that a model without a trainer logs, from now on; those of a step without `_step`.

    A tensor on another device than the model fails: where NCCL reduces it, so does training. `read`
    makes of a value what is kept; `float` waits for a GPU.
    """
    model.logged = {}

    def log(name, value, **_):
        if isinstance(value, torch.Tensor):
            assert value.device == next(model.parameters()).device, name
            value = value.detach()
        if not name.endswith("_epoch"):
            model.logged[name.removesuffix("_step")] = read(value)

    model.log = log
    model.log_dict = lambda values, **_: [log(*item) for item in values.items()]
    return model.logged


def tiny(images: Path, out: Path, *extra: str) -> list[str]:
    """Overrides that make any pretraining recipe small enough for a test."""
    return [
        "data.dataset=custom",
        f"data.train_path={images}/train",
        f"data.val_path={images}/val",
        "data.format=image_folder",
        "data.num_workers=0",
        "optimizer.batch_size=16",
        "max_epochs=1",
        "augmentations.0.crop_size=16",
        "method_kwargs.proj_hidden_dim=32",
        "method_kwargs.proj_output_dim=16",
        "precision=32-true",
        "++enable_progress_bar=False",
        f"checkpoint.dir={out}",
        *extra,
    ]


def environment(**more: str) -> dict[str, str]:
    """Of a process beside this one: as many threads, since sums depend on their number."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "dumb", "COLUMNS": "120", **more}


def solo_bayesncl(*arguments: object, **options) -> subprocess.CompletedProcess:
    """Runs the command in a process of its own."""
    env = environment(**options.pop("env", {}))
    return subprocess.run(
        [sys.executable, "-m", "solo_bayesncl", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env=env,
        check=False,
        **options,
    )


def only_run(out: Path, kind: str) -> Path:
    """The only run's folder below `out/kind`."""
    (folder,) = (path for path in (out / kind).iterdir() if path.is_dir())
    return folder


@pytest.fixture(scope="session")
def run_folders(tmp_path_factory) -> list[Path]:
    """Evaluated runs of three methods and two seeds, for reports."""
    return build_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def reports(run_folders) -> list[RunReport]:
    return [RunReport.read(folder) for folder in run_folders]


@pytest.fixture(scope="session")
def report_comparison(run_folders) -> dict:
    return build_comparison(run_folders)


@pytest.fixture(scope="session")
def page_file(reports, report_comparison, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(path, reports, report_comparison, "Three methods")
    return path


@pytest.fixture(scope="session")
def browser_page(reports, tmp_path_factory) -> Path:
    """A page without a comparison, as of `explain`: all dimensions of the first seeds."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(path, reports, title="Three methods")
    return path


@pytest.fixture
def bayesncl_run(run_folders, tmp_path) -> Path:
    """The folder of a run, to damage."""
    return shutil.copytree(run_folders[-1], tmp_path / "run")
