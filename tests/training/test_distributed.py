"""Several processes do what one does: batch norm, order and augmentations, whole runs."""

import csv
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import processes_worker as worker
import pytest
import torch
from conftest import RECIPES, environment, make_images, only_run, solo_bayesncl, tiny
from omegaconf import OmegaConf
from torch import nn
from torch.utils.data import DataLoader, Dataset

from solo_bayesncl.__main__ import main
from solo_bayesncl.adapters import adapter
from solo_bayesncl.errors import InputError
from solo_bayesncl.training import loggers
from solo_bayesncl.training.distributed import require_launched_as_configured
from solo_bayesncl.training.loggers import CurvesLogger, leave_out_class_metrics
from solo_bayesncl.training.run_folder import RunFolder
from solo_bayesncl.training.sync_batchnorm import SyncBatchNorm

pytestmark = pytest.mark.usefixtures("narrow_backbone")


@pytest.fixture(scope="module")
def normalised(process_pool) -> list[dict]:
    """What two processes found for every layer of the worker."""
    return process_pool.run(worker.batch_norm)


@pytest.mark.parametrize("name", worker.LAYERS)
def test_batch_norm_over_processes_is_that_of_one_with_all_rows(normalised, name):
    expected = worker.two_steps(name, slice(None), prepare=lambda layer: layer)
    first, second = (found[name] for found in normalised)
    for key, value in expected["rows"].items():
        both = torch.cat([first["rows"][key], second["rows"][key]])
        torch.testing.assert_close(both, value, rtol=1e-12, atol=1e-12)
    for key, value in expected["summed"].items():
        both = first["summed"][key] + second["summed"][key]
        torch.testing.assert_close(both, value, rtol=1e-12, atol=1e-12)
    assert expected["state"].keys() == first["state"].keys()
    for key, value in expected["state"].items():
        torch.testing.assert_close(first["state"][key], value, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(second["state"][key], value, rtol=1e-12, atol=1e-12)


def test_synchronised_layers_stay_themselves_and_can_be_changed_back():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.SyncBatchNorm(4))
    layers, names = list(model), list(model.state_dict())
    assert list(SyncBatchNorm().apply(model)) == layers
    assert type(model[1]).__name__ == "SyncBatchNorm2d"
    assert type(model[2]) is nn.SyncBatchNorm
    assert list(model.state_dict()) == names
    SyncBatchNorm().revert(model)
    assert type(model[1]) is nn.BatchNorm2d


@pytest.fixture(scope="module")
def trained(process_pool) -> list[dict]:
    """What two processes found for every method of the worker."""
    return process_pool.run(worker.methods)


@pytest.mark.parametrize("method", worker.METHODS)
def test_halves_of_a_batch_in_two_processes_train_as_the_batch(trained, method):
    """Losses, gradients, queues, momentum networks and statistics, over three steps."""
    expected = worker.train(method)
    assert len({float(loss) for loss in expected["losses"].values()}) == 3
    queue = expected["state"].get("queue")
    assert (queue is not None) == (method in ("bayesncl_mocov2plus", "bayesncl_nnclr"))
    if queue is not None:
        assert expected["state"]["queue_ptr"] == 0  # three batches have filled it
        assert queue.abs().sum() > 20
    for process in trained:
        for part, values in expected.items():
            torch.testing.assert_close(process[method][part], values, rtol=1e-8, atol=1e-10)


class Drawing(Dataset):
    """Samples that show which random numbers they were made with: (index, torch, numpy, random)."""

    def __len__(self) -> int:
        return 23

    def __getitem__(self, index: int) -> tuple:
        return index, torch.rand(2), np.random.rand(), random.random()


def passes(batch_size: int, world_size: int = 1, seed: int = 0, epochs=(0, 1), **loading):
    """Per epoch the global batches of a seeded loader: index -> what was drawn for that sample."""
    from solo_bayesncl.training.seeding import SeededLoader

    loader = DataLoader(Drawing(), batch_size, drop_last=True, **loading)
    found = []
    for epoch in epochs:
        shares = []
        for rank in range(world_size):
            trainer = SimpleNamespace(world_size=world_size, global_rank=rank, current_epoch=epoch)
            torch.manual_seed(rank)  # as if something else had drawn
            share = SeededLoader.like(loader, seed, trainer)
            shares.append(
                [
                    {
                        int(i): (t.tolist(), float(n), float(r))
                        for i, t, n, r in zip(*b, strict=True)
                    }
                    for b in share
                ]
            )
        found.append(
            [dict(x for part in b for x in part.items()) for b in zip(*shares, strict=True)]
        )
    return found


@pytest.mark.parametrize(("world_size", "workers"), [(2, 0), (3, 0), (1, 2), (2, 1)])
def test_global_batches_do_not_depend_on_processes(world_size, workers):
    one = passes(6)
    assert passes(6 // world_size, world_size, num_workers=workers) == one
    assert [len(batches) for batches in one] == [3, 3]
    assert all(len(batch) == 6 for batches in one for batch in batches)


@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_loader_processes_that_outlive_an_epoch_draw_numbers_of_the_next(context):
    from solo_bayesncl.training.seeding import SeededLoader

    loader = DataLoader(
        Drawing(), 6, drop_last=True, num_workers=1, multiprocessing_context=context,
        persistent_workers=True, prefetch_factor=3,
    )  # fmt: skip
    trainer = SimpleNamespace(world_size=1, global_rank=0, current_epoch=0)
    seeded = SeededLoader.like(loader, 0, trainer)
    drawn = []
    for trainer.current_epoch in (0, 1):
        batches = [zip(*batch, strict=True) for batch in seeded]
        drawn.append(
            [{int(i): (t.tolist(), float(n), float(r)) for i, t, n, r in b} for b in batches]
        )
    assert drawn == passes(6)


def test_pass_requested_before_the_epoch_is_known_is_that_of_its_first_batch():
    """As Lightning 2.6 does when it resumes a run."""
    from solo_bayesncl.training.seeding import SeededLoader

    trainer = SimpleNamespace(world_size=1, global_rank=0, current_epoch=0)
    loader = DataLoader(Drawing(), 6, drop_last=True, num_workers=1)
    batches = iter(SeededLoader.like(loader, 0, trainer))
    trainer.current_epoch = 1
    expected = passes(6, epochs=(1,))[0]
    drawn = [{int(i): (t.tolist(), float(n), float(r)) for i, t, n, r in zip(*b, strict=True)}
             for b in batches]  # fmt: skip
    assert drawn == expected


@pytest.mark.parametrize("copied", ["trained on", "validated on"])
def test_loaders_load_as_the_given_one(copied):
    from solo_bayesncl.training.distributed import share_of
    from solo_bayesncl.training.seeding import SeededLoader

    given = {
        "num_workers": 2,
        "pin_memory": True,
        "persistent_workers": True,
        "prefetch_factor": 5,
        "timeout": 7,
        "collate_fn": list,
        "worker_init_fn": print,
        "multiprocessing_context": "spawn",
    }
    loader = DataLoader(Drawing(), 6, drop_last=True, **given)
    trainer = SimpleNamespace(world_size=2, global_rank=0, current_epoch=0)
    trained_on = copied == "trained on"
    own = SeededLoader.like(loader, 0, trainer) if trained_on else share_of(loader, trainer)
    kept = {name: getattr(own, name) for name in given}
    if trained_on:  # the samples that could be read are collated by the given one
        (kept["collate_fn"],) = kept["collate_fn"].args
    context = kept.pop("multiprocessing_context")
    assert context.get_start_method() == given.pop("multiprocessing_context")
    assert kept == given


def test_epochs_seeds_and_samples_draw_their_own_numbers():
    first, second = passes(6)
    (other,) = passes(6, seed=1, epochs=(0,))
    # were the seed and the epoch added, seed 1 would begin where seed 0 goes on
    assert len({tuple(map(tuple, batches)) for batches in (first, second, other)}) == 3
    drawn = [str(d) for batches in (first, second, other) for b in batches for d in b.values()]
    assert len(set(drawn)) == len(drawn) == 54
    assert passes(6, epochs=(1,)) == [second]  # as a run that was interrupted before it


@pytest.mark.parametrize("images", [1, 2, 15, 16, 17, 23, 33])
@pytest.mark.parametrize(("batch_size", "world_size"), [(16, 2), (8, 2), (1, 2), (4, 3)])
def test_every_validation_image_is_seen_equally_often(images, batch_size, world_size):
    from solo_bayesncl.training.distributed import share_of

    loader = DataLoader(torch.arange(images), batch_size)
    shares = [
        list(share_of(loader, SimpleNamespace(world_size=world_size, global_rank=rank)))
        for rank in range(world_size)
    ]
    seen = torch.cat([batch for share in shares for batch in share]).bincount(minlength=images)
    assert len(set(seen.tolist())) == 1
    assert len({len(share) for share in shares}) == 1  # or DDP would wait for ever
    assert all(1 <= len(batch) <= batch_size for share in shares for batch in share)
    if images >= world_size * 2 and batch_size > 1:
        assert seen[0] == 1


@pytest.fixture(scope="module")
def odd_images(tmp_path_factory) -> Path:
    """48 images, and 23 for validation, which two processes cannot share evenly."""
    folder = tmp_path_factory.mktemp("odd")
    make_images(folder / "train", classes=6, per_class=8)
    make_images(folder / "val", classes=6, per_class=4)
    (folder / "val/class_0/0.png").unlink()
    return folder


def arguments(images: Path, out: Path, recipe: str, *more: str) -> list[str]:
    """Two epochs of three steps. In float64: a ReLU that flips makes much of a rounding."""
    command = ["pretrain", "--config-path", str(RECIPES / "pretrain/custom"), "--config-name"]
    options = ["max_epochs=2", "precision=64-true", "accelerator=cpu", "++log_every_n_steps=1"]
    return [*command, recipe, *tiny(images, out, *options, *more)]


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def curves_of_one(odd_images, tmp_path_factory) -> list[dict[str, str]]:
    """The curves of one process with the whole batch."""
    out = tmp_path_factory.mktemp("one")
    assert main(arguments(odd_images, out, "bayesncl", "optimizer.batch_size=16")) == 0
    return rows(only_run(out, "bayesncl"))


def assert_same_run(run: Path, expected: list[dict[str, str]]) -> None:
    """One checkpoint and record, and the expected curves: means over processes, once an epoch.

    Values of steps are those of the first process, with its part of the batch.
    """
    found = rows(run)
    assert [row["step"] for row in found] == [str(step) for step in range(6)]
    assert all(float(row["train_nce_loss_step"]) > 0 for row in found)
    names = ["train_nce_loss_epoch", "train_class_loss_epoch", "train_kl_loss_epoch"]
    names += [name for name in expected[0] if name.startswith("lr-")]
    names += ["val_loss", "val_acc1", "val_acc5"]
    for name in names:
        values = [float(row[name]) for row in expected if row[name]]
        assert len(values) == 2
        written = [float(row[name]) for row in found if row[name]]
        assert written == pytest.approx(values, rel=1e-5), name  # six digits are written
    (checkpoint,) = run.glob("*.ckpt")
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 6
    assert json.loads((run / "args.json").read_text())["sync_batchnorm"] is True
    assert not list(run.glob("*.partial"))


def test_two_processes_killed_and_continued_give_the_curves_of_one(
    odd_images, tmp_path, curves_of_one
):
    """Lightning's DDP over gloo through the command; batch norm, data and rates as in one."""
    more = ["devices=2", "optimizer.batch_size=8"]
    typed = arguments(odd_images, tmp_path, "bayesncl", *more)
    process = subprocess.Popen(
        [sys.executable, "-m", "solo_bayesncl", *typed],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(),
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("bayesncl/*/*-ep=0.ckpt")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    done = solo_bayesncl(*typed)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("resuming") == 1
    assert done.stderr.count("the run is in") == 1
    assert_same_run(only_run(tmp_path, "bayesncl"), curves_of_one)


def test_two_nodes_give_the_curves_of_one_process(odd_images, tmp_path, curves_of_one):
    """Processes that nobody starts together agree on one folder; here with loader processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    more = ["devices=1", "num_nodes=2", "optimizer.batch_size=8", "data.num_workers=1"]
    typed = arguments(odd_images, tmp_path, "bayesncl", *more)
    command = [sys.executable, "-m", "solo_bayesncl", *typed]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    nodes = [
        subprocess.Popen(command, env=environment(**address, NODE_RANK=str(rank)), **quiet)
        for rank in (0, 1)
    ]
    messages = [node.communicate(timeout=300)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], messages
    assert ["the run is in" in message for message in messages] == [True, False]
    assert_same_run(only_run(tmp_path, "bayesncl"), curves_of_one)


def test_another_number_of_processes_than_the_launcher_started_is_refused(
    images, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "of torchrun")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(arguments(images, tmp_path, "ncl", "devices=1")) == 2
    assert "torchrun has started 2 process(es), but devices=1" in capsys.readouterr().err
    assert not list(tmp_path.glob("ncl/*"))


@pytest.mark.parametrize(("job", "status"), [("bash", None), ("interactive", None), ("train", 1)])
def test_processes_of_an_interactive_slurm_job_are_started_by_lightning(monkeypatch, job, status):
    """Its shell is one task of srun, from which Lightning starts any number of processes."""
    for key, value in {"JOB_NAME": job, "NTASKS": "1", "STEP_NUM_TASKS": "1"}.items():
        monkeypatch.setenv(f"SLURM_{key}", value)
    cfg = OmegaConf.create({"devices": [0, 1]})
    if status is None:
        require_launched_as_configured(cfg)
    else:
        with pytest.raises(InputError, match="srun has started 1 process"):
            require_launched_as_configured(cfg)


def test_every_process_knows_the_run_of_wandb(monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setattr(adapter().pl.utilities.rank_zero_only, "rank", 1)
    wandb = {"project": "p", "entity": None, "offline": True}
    cfg = OmegaConf.create({"name": "run", "wandb": wandb})
    folder = RunFolder(Path("parent/decided"), resume_point=None)
    assert loggers._wandb_logger(cfg, folder).version == "decided"


def test_no_logger_logs_classes_that_images_do_not_have(tmp_path):
    """NNCLR's neighbours would all have the label -1, and be right."""
    told = []
    logger = CurvesLogger(tmp_path)
    other = SimpleNamespace(log_metrics=lambda metrics, step: told.append(metrics))
    for one in (logger, other):
        leave_out_class_metrics(one)
        names = ["train_nn_acc_step", "train_class_loss_step", "train_acc1_epoch", "train_nce_loss"]
        one.log_metrics(dict.fromkeys(names, 1.0), step=0)
    assert told == [{"train_nce_loss": 1.0}]
    logger.save()
    assert (tmp_path / "metrics.csv").read_text() == "epoch,step,train_nce_loss\n,0,1\n"


def test_images_for_one_process_but_not_for_two_are_refused(images, tmp_path, capsys):
    assert main(arguments(images, tmp_path, "ncl", "devices=2", "optimizer.batch_size=32")) == 2
    expected = "fewer images than optimizer.batch_size=32 in each of 2 processes"
    assert expected in capsys.readouterr().err


def test_all_ranks_print_errors_but_only_rank_zero_prints_news(monkeypatch, capsys):
    from solo_bayesncl.console import log

    for name in ("LOCAL_RANK", "NODE_RANK", "RANK", "SLURM_PROCID"):
        with monkeypatch.context() as patch:
            patch.setitem(os.environ, name, "1")
            log("news")
            log("trouble", all_ranks=True)
    assert capsys.readouterr().err == "solo-bayesncl: trouble\n" * 4
