"""On a GPU: numbers, not only that it runs; and the program of `make gpu`.

Tests marked `gpu` are skipped where there is none. `make gpu` runs them before its table.
`test_emulated_cuda.py` has what can be said of a GPU without one.
"""

import importlib
import json
import math
import subprocess
import sys
from pathlib import Path

import dali_runs
import pytest
import torch
from conftest import GOLDEN, ROOT, environment, golden_case, only_run, record_log, solo_bayesncl
from processes_worker import small_model
from test_commands import linear, pretrain, rows
from test_distributed import arguments
from test_methods import batch
from test_objective import head, objective_of

import solo_bayesncl.methods
from solo_bayesncl import metrics
from solo_bayesncl.__main__ import main

CASES = sorted((GOLDEN / "objective").glob("*.npz"))
# whose steps wait for nothing; MoCo v2+ and NNCLR keep the place in their queue on the CPU
METHODS = [name for name in solo_bayesncl.methods.METHODS if not name.endswith(("plus", "nnclr"))]
DEVICES = ("cpu", pytest.param("cuda", marks=pytest.mark.gpu))


def losses(run: Path) -> list[float]:
    """InfoNCE of each epoch."""
    found = [row["train_nce_loss_epoch"] for row in rows(run) if row["train_nce_loss_epoch"]]
    return list(map(float, found))


# --- the objective and the metrics -----------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [
        (torch.float64, {"rtol": 1e-9, "atol": 1e-12}),
        (torch.float32, {"rtol": 1e-4, "atol": 1e-6}),
    ],
    ids=["float64", "float32"],
)
def test_loss_and_gradients_are_those_of_the_official_code(path, device, dtype, tolerance):
    settings, arrays = golden_case(path)
    weights = {k.removeprefix("param."): v for k, v in arrays.items() if k.startswith("param.")}
    names = {name.split(".")[0] for name in weights} & {"projector", "gating_head"}
    heads = {name: head(weights, name).to(device, dtype) for name in names}
    views = [arrays[f"in.feats{i}"].to(device, dtype).requires_grad_() for i in (1, 2)]
    indexes = torch.arange(len(views[0]), device=device).repeat(2)
    result = objective_of(settings["method_kwargs"], heads, torch.cat(views), indexes)
    result.total.backward()

    found = {"out.total": result.total, "out.nce": result.nce}
    found |= {f"grad.feats{i}": view.grad for i, view in enumerate(views, start=1)}
    found |= {
        f"grad.{name}.{key}": parameter.grad
        for name, module in heads.items()
        for key, parameter in module.named_parameters()
    }
    for name, value in found.items():
        assert value.device.type == device
        expected = arrays[name].to(dtype)
        torch.testing.assert_close(value.detach().cpu(), expected, **tolerance, msg=name)


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(256, 64), (64, 256)])
def test_metrics_are_those_of_the_cpu(shape):
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(shape, generator=generator).relu()
    labels = torch.arange(shape[0]) % 10
    on_gpu = metrics.summary(codes.cuda(), labels.cuda())
    for name, value in metrics.summary(codes, labels).items():
        torch.testing.assert_close(on_gpu[name].cpu(), value, rtol=1e-6, atol=1e-9, msg=name)


# --- a step ----------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("method", METHODS)
def test_step_makes_no_synchronisation(method):
    """But for the first of an epoch, whose codes are measured."""
    model = small_model(method).cuda()
    logged = record_log(model, read=lambda value: value)
    indexes, views, targets = batch()
    given = [indexes.cuda(), [view.cuda() for view in views], targets.cuda()]
    model.training_step(given, 1)  # starts the libraries
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss = model.training_step(given, 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert loss.isfinite()
    assert {value.device.type for value in logged.values()} == {"cuda"}


# --- commands --------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_cifar_recipe_trains(cifar10, tmp_path, precision):
    """With solo-learn's 3x3 stem, LARS and channels-last; the views are nearly copies."""
    overrides = [
        f"data.train_path={cifar10}", f"data.val_path={cifar10}", "data.dataset=cifar10",
        "accelerator=gpu", f"precision={precision}", "augmentations.0.crop_size=32",
        "augmentations.0.rrc.crop_min_scale=0.95", *dali_runs.PLAIN, "max_epochs=4",
        "method_kwargs.proj_hidden_dim=256", "method_kwargs.proj_output_dim=256",
    ]  # fmt: skip
    pretrain(cifar10, tmp_path, *overrides, folder="cifar")
    run = only_run(tmp_path, "bayesncl")
    assert len(losses(run)) == 4
    assert all(map(math.isfinite, losses(run)))
    assert losses(run)[-1] < math.log(2 * 16 - 1)  # that of codes that are all alike
    record = torch.load(next(run.glob("*.ckpt")), map_location="cpu", weights_only=True)
    assert record["global_step"] == 4 * (50 // 16)
    assert record["state_dict"]["backbone.conv1.weight"].shape[-1] == 3
    assert all(value.isfinite().all() for value in record["state_dict"].values())
    scales = [v["scale"] for v in record.values() if isinstance(v, dict) and "scale" in v]
    assert len(scales) == (precision == "16-mixed")
    assert all(scale >= 1 for scale in scales)


@pytest.mark.gpu
def test_evaluation_is_that_of_the_cpu(images, tmp_path, monkeypatch):
    pretrain(images, tmp_path, "accelerator=gpu", "precision=16-mixed")
    run = only_run(tmp_path, "bayesncl")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    results = []
    for device, precision in (("cpu", "32-true"), ("cuda", "32-true"), ("cuda", "auto")):
        out = tmp_path / f"{device}-{precision}.json"
        options = ["--device", device, "--precision", precision, "--out", str(out)]
        assert main(["evaluate", str(run), *options]) == 0
        results.append(json.loads(out.read_text()))
    assert results.pop()["precision"] == "16-mixed"
    for space in ("backbone", "projections", "gate", "codes"):
        cpu, gpu = (
            {k: v for k, v in result[space].items() if isinstance(v, float)} for result in results
        )
        assert gpu == pytest.approx(cpu, rel=1e-3, abs=1e-4, nan_ok=True), space
    one_image = 100 / 24 + 0.1
    assert results[1]["accuracy"] == pytest.approx(results[0]["accuracy"], abs=one_image)


@pytest.mark.gpu
def test_linear_probe_learns_in_half_precision(images, tmp_path):
    pretrain(images, tmp_path, "accelerator=gpu", "precision=16-mixed")
    run = only_run(tmp_path, "bayesncl")
    linear(run, images, tmp_path, "accelerator=gpu", "precision=16-mixed", "max_epochs=10")
    curve = [float(r["train_loss_epoch"]) for r in rows(only_run(tmp_path, "linear"))
             if r.get("train_loss_epoch")]  # fmt: skip
    assert len(curve) == 10
    assert curve[-1] < curve[0]


@pytest.mark.gpu
def test_dali_gives_the_images_indexes_and_labels_of_the_torchvision_loader(tmp_path, monkeypatch):
    pytest.importorskip("nvidia.dali")
    folder = dali_runs.one_colour_images(tmp_path / "images", 18)
    numbers_of = dali_runs.numbers_of
    monkeypatch.setattr(dali_runs, "numbers_of", lambda crop: numbers_of(crop.cpu()))
    dali, torchvision = (
        dali_runs.pretrain(
            folder, tmp_path / name, "max_epochs=2", "seed=3", f"data.format={name}",
            "dali.device=gpu", "accelerator=gpu",
        )
        for name in ("dali", "image_folder")
    )  # fmt: skip
    assert len(dali) == 2 * (18 // dali_runs.BATCH)
    for ours, theirs in zip(dali, torchvision, strict=True):
        assert ours.crops.device.type == "cuda"
        assert ours.indexes == ours.images == theirs.indexes
        assert ours.targets == theirs.targets


@pytest.mark.gpu
def test_dali_trains_on_the_gpu(jpegs, tmp_path):
    pytest.importorskip("nvidia.dali")
    dali = ["data.format=dali", "dali.device=gpu", "data.num_workers=1", "accelerator=gpu"]
    pretrain(jpegs, tmp_path, *dali, "precision=16-mixed", "max_epochs=2", folder="imagenet-100")
    run = only_run(tmp_path, "bayesncl")
    assert all(map(math.isfinite, losses(run)))
    record = torch.load(next(run.glob("*.ckpt")), map_location="cpu", weights_only=True)
    assert record["global_step"] == 2 * (48 // 16)
    assert len([row for row in rows(run) if row.get("val_acc1")]) == 2


ONE_PROCESS_OF_DDP = """
import sys

from solo_bayesncl import recipes
from solo_bayesncl.__main__ import main

fit_to_machine = recipes.fit_to_machine

def keep_ddp(cfg):
    fit_to_machine(cfg)
    cfg.strategy = "ddp"

recipes.fit_to_machine = keep_ddp
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.gpu
def test_one_process_of_ddp_over_nccl_ends_its_epochs(images, tmp_path):
    """As solo-learn's own script runs `strategy: ddp`: what is logged must be on the GPU."""
    options = ["accelerator=gpu", "precision=16-mixed", "augmentations.0.crop_size=32"]
    typed = arguments(images, tmp_path, "bayesncl", *options)
    done = subprocess.run(
        [sys.executable, "-c", ONE_PROCESS_OF_DDP, *typed],
        env=environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    run = only_run(tmp_path, "bayesncl")
    assert len(losses(run)) == 2
    assert all(map(math.isfinite, losses(run)))
    consistency = [float(v) for r in rows(run) if (v := r["semantic_consistency_codes"])]
    assert len(consistency) == 2
    assert all(1 / 6 <= value <= 1 for value in consistency)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_give_the_curves_of_one(images, tmp_path):
    """In float64: batch norm, gathering and rates over NCCL are those of one process."""
    curves = []
    for devices in (1, 2):
        out = tmp_path / str(devices)
        size = [f"devices={devices}", f"optimizer.batch_size={16 // devices}", "accelerator=gpu"]
        done = solo_bayesncl(*arguments(images, out, "bayesncl", *size))
        assert done.returncode == 0, done.stderr[-3000:]
        curves.append(losses(only_run(out, "bayesncl")))
    assert curves[1] == pytest.approx(curves[0], rel=1e-5)


# --- `make gpu` ------------------------------------------------------------------------------


def gpu_program(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, ROOT / "benchmarks/gpu.py", *map(str, arguments)],
        env=environment(PYTHONPATH=str(ROOT)), capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_make_gpu_says_so_in_one_line():
    done = gpu_program()
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "No CUDA device is found" in line


@pytest.mark.usefixtures("narrow_backbone")
def test_rehearsal_trains_compares_and_writes_the_table(tmp_path):
    done = gpu_program("--device", "cpu", "--out", tmp_path, "--only", "fp32", "fp32 on the CPU")
    assert done.returncode == 0, done.stdout + done.stderr
    table = (tmp_path / "table.md").read_text()
    assert "no GPU: a rehearsal on the CPU" in table
    assert "| fp32 | passed |" in table
    assert "images/s with loading" in table
    assert "first losses differ by train_nce_loss 0.0e+00" in table


def test_failing_row_is_in_the_table_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    gpu, gpu_rows = importlib.import_module("gpu"), importlib.import_module("gpu_rows")

    def failing(row: str) -> str:
        bench.run(row, [sys.executable, "-c", "print('a'); raise SystemExit('no | memory')"])
        raise AssertionError

    def hanging(row: str) -> str:
        monkeypatch.setattr(gpu_rows, "ROW_SECONDS", 0.5)
        bench.run(row, [sys.executable, "-c", "import time; time.sleep(60)"])
        raise AssertionError

    def slow(row: str) -> str:
        bench.deadline = 0
        return hanging(row)

    rows_ = {
        "breaks": failing, "works": lambda row: "seen", "hangs": hanging, "slow": slow,
        "late": failing,
    }  # fmt: skip
    monkeypatch.setattr(gpu, "all_rows", lambda bench: rows_)
    bench = gpu.Bench("cpu", tmp_path / "work", tmp_path, gpu.time.monotonic() + 600)
    assert gpu.measure(bench, only=[]) is False
    lines = (tmp_path / "table.md").read_text().splitlines()[-5:]
    found = [[cell.strip() for cell in line.split("|")][1:-1] for line in lines]
    assert [[row, result, seen] for row, result, _, seen in found] == [
        ["breaks", "FAILED", "status 1: no / memory"],
        ["works", "passed", "seen"],
        ["hangs", "FAILED", "no end after 0.5 s: no output"],
        ["slow", "not run", "time"],
        ["late", "not run", "time"],
    ]
