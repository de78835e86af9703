"""A run that diverges stops, says so once, and leaves its last good checkpoint as it was."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import divergence_worker as worker
import pytest
import torch
from compare_runs import arguments as compared
from conftest import RECIPES, make_images, only_run, solo_bayesncl, tiny
from emulated_cuda import CUDA, EmulatedCuda
from omegaconf import OmegaConf
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from solo_bayesncl.__main__ import main
from solo_bayesncl.data.folders import ClassFolder
from solo_bayesncl.training.divergence import (
    LARGEST_WEIGHT,
    StopWhenDiverged,
    image_names,
    images_of_batch,
)
from solo_bayesncl.training.seeding import SeededLoader

pytestmark = pytest.mark.usefixtures("narrow_backbone")

NAN_LOSS = "method_kwargs.temperature=1e-40"
# without a warmup: the first step is as large
EXPLODES = ["optimizer.name=sgd", "~optimizer.kwargs", "scheduler.name=none", "optimizer.lr=1e30"]


def arguments(images: Path, out: Path, method: str, *overrides: str) -> list[str]:
    recipe = ["--config-path", str(RECIPES / "pretrain/custom"), "--config-name", method]
    return ["pretrain", *recipe, *tiny(images, out, *overrides)]


def record(run: Path) -> dict:
    return json.loads((run / "diverged.json").read_text())


@pytest.fixture
def batches(monkeypatch) -> list[list[int]]:
    """The indexes of the images that steps were given."""
    seen = []
    end = StopWhenDiverged.on_train_batch_end

    def recorded(self, trainer, module, outputs, batch, *args):
        seen.append(batch[0].tolist())
        end(self, trainer, module, outputs, batch, *args)

    monkeypatch.setattr(StopWhenDiverged, "on_train_batch_end", recorded)
    return seen


@pytest.mark.parametrize("method", ["simclr", "ncl", "bayesncl", "mocov2plus"])
def test_loss_that_is_nan_stops_training(images, tmp_path, capsys, method):
    queue = ["method_kwargs.queue_size=32"] if method == "mocov2plus" else []
    assert main(arguments(images, tmp_path, method, NAN_LOSS, *queue)) == 2
    message = capsys.readouterr().err
    assert message.count("training diverged at epoch 0, step 0: train_nce_loss is nan") == 1
    assert "Lower optimizer.lr" in message
    assert "raise method_kwargs.temperature" in message
    assert "No epoch was finished, so there is no checkpoint." in message
    assert not list(tmp_path.rglob("*.ckpt"))


def test_method_without_a_loss_in_its_first_epoch_is_not_stopped(images, tmp_path):
    """Of deepclusterv2, whose images have no clusters then."""
    clusters = ["++method_kwargs.num_prototypes=[4,4]", "++method_kwargs.kmeans_iters=1"]
    overrides = ["method=deepclusterv2", "max_epochs=2", *clusters]
    assert main(arguments(images, tmp_path, "simclr", *overrides)) == 0
    with (only_run(tmp_path, "deepclusterv2") / "metrics.csv").open() as file:
        values = [row["train_deepcluster_loss_epoch"] for row in csv.DictReader(file)]
    first, *_, last = filter(None, values)
    assert first == "nan"
    assert float(last) > 0


@pytest.mark.parametrize("method", ["barlow_twins", "bayesncl"])
def test_the_first_bad_step_and_the_images_of_its_batch_are_named(
    images, tmp_path, capsys, batches, method
):
    assert main(arguments(images, tmp_path, method, *EXPLODES, "max_epochs=2")) == 2
    message = capsys.readouterr().err
    found = record(only_run(tmp_path, method))
    assert (found["epoch"], found["step"]) == (0, len(batches) - 1) == (0, 1)
    assert f"diverged at epoch 0, step 1: {found['reason']}" in message
    assert "train_class_loss is nan" in found["reason"]
    files = [path for path, _ in ClassFolder(images / "train").samples]
    assert found["images"] == [files[index] for index in batches[-1]]
    shown = ", ".join(found["images"][:3])
    assert f"The batch: {shown} and 13 more." in message


def test_dali_batch_is_named_by_its_files(jpegs, tmp_path, batches):
    pytest.importorskip("nvidia.dali")
    dali = ["data.format=dali", "dali.device=cpu", "data.num_workers=1"]
    assert main(arguments(jpegs, tmp_path, "bayesncl", *dali, *EXPLODES)) == 2
    files = [path for path, _ in ClassFolder(jpegs / "train").samples]
    found = record(only_run(tmp_path, "bayesncl"))
    assert found["images"] == [files[index] for index in batches[-1]]


def test_weights_that_overflow_in_the_last_step_of_an_epoch_are_not_saved(images, tmp_path, capsys):
    """The loss of the only step was finite: it is the step that ruins the weights."""
    assert main(arguments(images, tmp_path, "bayesncl", *EXPLODES, "optimizer.batch_size=48")) == 2
    assert "diverged at epoch 0, step 0: " in capsys.readouterr().err
    reason = record(only_run(tmp_path, "bayesncl"))["reason"]
    assert "is not finite" in reason or "has grown to" in reason
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".ckpt", ".partial")]


def test_finite_weights_beyond_float16_are_called_diverged(images, tmp_path, capsys):
    """With LARS a learning rate of 1e8 leaves finite weights, whose features overflow."""
    assert main(arguments(images, tmp_path, "simclr", "optimizer.lr=1e8")) == 2
    assert "step 2: backbone.conv1.weight has grown to " in capsys.readouterr().err


@pytest.fixture(scope="module")
def trained(narrow_backbone, images, tmp_path_factory) -> Path:
    """The folder of a good run of one epoch."""
    out = tmp_path_factory.mktemp("trained")
    assert main(arguments(images, out, "bayesncl")) == 0
    return only_run(out, "bayesncl")


def test_last_good_checkpoint_stays_and_other_settings_go_on_from_it(
    images, trained, tmp_path, capsys
):
    (good,) = trained.glob("*.ckpt")
    content = good.read_bytes()
    resume = ["max_epochs=3", f"resume_from_checkpoint={good}"]
    ruined = arguments(images, trained.parents[1], "bayesncl", *resume, NAN_LOSS)
    assert main(ruined) == 2
    message = capsys.readouterr().err
    assert "diverged at epoch 1, step 3: train_nce_loss is nan" in message
    assert f"The last good checkpoint is {good}" in message
    assert [*trained.glob("*.ckpt")] == [good]
    assert good.read_bytes() == content

    assert main(["evaluate", str(trained), "--device", "cpu"]) == 0
    said = "Training diverged at epoch 1, step 3: train_nce_loss is nan. What is measured is the"
    assert said in capsys.readouterr().err
    assert main(arguments(images, trained.parents[1], "bayesncl", *resume)) == 0
    assert {path.name.rpartition("=")[2] for path in trained.glob("*.ckpt")} == {"0.ckpt", "2.ckpt"}
    assert not (trained / "diverged.json").exists()


def test_linear_probe_that_diverges_stops(images, trained, tmp_path, capsys):
    recipe = ["--config-path", str(RECIPES / "linear/custom"), "--config-name", "bayesncl"]
    typed = [f"data.train_path={images}/train", f"data.val_path={images}/val",
             "data.num_workers=0", "optimizer.batch_size=16", "max_epochs=2", "precision=32-true",
             "data.augmentations.crop_size=16", "++enable_progress_bar=False",
             "optimizer.name=sgd", "optimizer.lr=1e38",
             f"checkpoint.dir={tmp_path}", f"pretrained_feature_extractor={trained}"]  # fmt: skip
    assert main(["linear", *recipe, *typed]) == 2
    message = capsys.readouterr().err
    assert "training diverged at epoch 0, step " in message
    assert "train_loss is " in message or "classifier.weight" in message
    assert str(images / "train") in message or "classifier.weight" in message
    assert not list(tmp_path.rglob("*.ckpt"))


def test_checkpoint_with_weights_that_are_not_finite_is_not_trained_on(
    images, trained, tmp_path, capsys
):
    good = max(trained.glob("*.ckpt"))
    content = torch.load(good, weights_only=True)
    content["state_dict"]["backbone.conv1.weight"].fill_(torch.nan)
    bad = tmp_path / "run" / good.name
    bad.parent.mkdir()
    torch.save(content, bad)
    resume = ["max_epochs=9", f"resume_from_checkpoint={bad}"]
    assert main(arguments(images, tmp_path / "out", "bayesncl", *resume)) == 2
    assert f"{bad} is of a model that diverged: backbone.conv1.weight" in capsys.readouterr().err


def test_unlabelled_images_make_no_loss_nan(tmp_path, capsys):
    """solo-learn's classifier has no target there: its cross-entropy is a mean over nothing."""
    make_images(tmp_path / "images", classes=1, per_class=16)
    flat = tmp_path / "images/class_0"
    overrides = [f"data.train_path={flat}", "data.no_labels=True", "data.val_path=null"]
    assert main(arguments(tmp_path, tmp_path / "out", "simclr", *overrides)) == 0
    (checkpoint,) = (tmp_path / "out").rglob("*.ckpt")
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert all(value.isfinite().all() for value in state.values())


def test_two_processes_stop_together_with_one_message(images, tmp_path):
    typed = arguments(images, tmp_path, "bayesncl", "devices=2", "optimizer.batch_size=8", NAN_LOSS)
    done = solo_bayesncl(*typed)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("training diverged at epoch 0, step 0: train_nce_loss is nan") == 1
    assert "Traceback" not in done.stderr
    assert len(record(only_run(tmp_path, "bayesncl"))["images"]) == 8


def test_what_one_process_finds_stops_all_and_rank_zero_says_it(process_pool, tmp_path):
    first, second = process_pool.run(worker.diverge_on_rank_one, tmp_path)
    assert first.startswith("DivergedError: training diverged at epoch 2, step 31: ")
    assert "train_nce_loss is inf" in first
    assert second == "SystemExit: 2"
    assert record(tmp_path)["rank"] == 1


def watched(device: torch.device, folder: Path = Path()) -> tuple[StopWhenDiverged, object]:
    """The callback, and what it asks of a trainer."""
    return StopWhenDiverged(OmegaConf.create({"precision": "32-true"})), worker.trainer_on(folder)


def test_steps_on_a_gpu_do_not_wait_and_the_first_bad_one_is_found_later(tmp_path):
    with EmulatedCuda() as gpu:
        module = nn.Linear(2, 2).to(CUDA)
        module.device = CUDA
        watch, trainer = watched(CUDA, tmp_path)
        losses = [torch.tensor(float(v)).to(CUDA) for v in (1, 2, "inf", "nan")]
        gpu.waits.clear()
        for step, loss in enumerate(losses[:3]):
            worker.take_step(watch, trainer, module, step, loss)
        assert gpu.waits == []
        with pytest.raises(Exception, match="diverged at epoch 2, step 30: train_nce_loss is inf"):
            worker.take_step(watch, trainer, module, 3, losses[3])


def test_a_gradient_or_a_validation_loss_that_overflows_is_no_divergence():
    watch, trainer = watched(torch.device("cpu"))
    module = nn.Linear(2, 2)
    module.device = torch.device("cpu")
    module.weight.grad = torch.full((2, 2), torch.inf)
    trainer.callback_metrics |= {"val_loss": torch.tensor(torch.nan)}
    worker.take_step(watch, trainer, module, 0, torch.tensor(1.0))
    watch.on_train_epoch_end(trainer, module)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 2 * LARGEST_WEIGHT])
def test_no_checkpoint_is_written_of_a_bad_weight(tmp_path, value):
    watch, trainer = watched(torch.device("cpu"), tmp_path)
    module = nn.Linear(2, 2)
    module.weight.data[0, 1] = value
    with pytest.raises(Exception, match="diverged at epoch 0, step 0: weight"):
        watch.on_save_checkpoint(trainer, module, {})


def test_no_checkpoint_is_written_of_an_optimizer_that_has_overflowed(tmp_path):
    """Adam with an infinite second moment has finite weights, which never move again."""
    watch, trainer = watched(torch.device("cpu"), tmp_path)
    module = nn.Linear(2, 2, bias=False)
    optimizer = torch.optim.Adam(module.parameters())
    module.weight.grad = torch.full((2, 2), 1e30)
    optimizer.step()
    assert module.weight.isfinite().all()
    trainer.optimizers = [optimizer]
    with pytest.raises(Exception, match="exp_avg_sq of weight is not finite"):
        watch.on_save_checkpoint(trainer, module, {})


def test_images_without_files_are_named_by_their_numbers():
    assert image_names(TensorDataset(torch.zeros(9)), [4, 2]) == ["4", "2"]


def test_batch_of_a_later_epoch_and_another_process_is_found(images):
    loader = DataLoader(
        ClassFolder(images / "train"),
        batch_size=6,
        drop_last=True,
        collate_fn=lambda samples: [label for _, label in samples],
    )
    trainer = SimpleNamespace(world_size=2, global_rank=1, current_epoch=3)
    trainer.train_dataloader = share = SeededLoader.like(loader, 0, trainer)
    drawn = [*share]
    for batch in (0, 2):
        found = images_of_batch(trainer, 3, batch)
        assert [int(Path(path).parent.name[-1]) for path in found] == drawn[batch]
    assert images_of_batch(trainer, 3, 0) != images_of_batch(trainer, 2, 0)


def test_comparison_finishes_the_other_runs_and_names_those_that_diverged(images, tmp_path, capsys):
    hot = f"++variants={{hot: {{recipe: ncl, overrides: ['{NAN_LOSS}']}}}}"
    assert main(compared(images, tmp_path, hot, "methods=[hot,ncl]", "seeds=[0]")) == 2
    message = capsys.readouterr().err
    assert "hot, seed 0: training diverged at epoch 0, step 0: train_nce_loss is nan" in message
    assert "1 of 2 runs diverged, the others are finished: hot, seed 0." in message
    assert (tmp_path / "runs/ncl/seed-0/job.json").exists()
    assert not (tmp_path / "comparison.json").exists()
