"""Every command once for real, on tiny data; mostly in this process, as importing takes seconds."""

import csv
import functools
import json
import shutil

import pytest
import torch
from conftest import RECIPES, make_images, only_run, solo_bayesncl, tiny

from solo_bayesncl import adapters
from solo_bayesncl.__main__ import main

RUN_FILES = {"args.json", "metrics.csv"}


def pretrain(images, out, *overrides: str, folder: str = "custom", name: str = "bayesncl.yaml"):
    status = main(
        [
            "pretrain",
            "--config-path",
            str(RECIPES / "pretrain" / folder),
            "--config-name",
            name,
            *tiny(images, out, *overrides),
        ]
    )
    assert status == 0


def rows(run):
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    """A BayesNCL run of one epoch."""
    out = tmp_path_factory.mktemp("trained")
    pretrain(images, out)
    return only_run(out, "bayesncl")


@pytest.mark.parametrize("name", ["simclr", "ncl", "ncl_topk", "bayesncl_gs"])
def test_pretrain_leaves_record_checkpoint_and_curves(images, tmp_path, name):
    # the tests' projections have 16 dimensions
    topk = ["method_kwargs.topk_k=4"] if name == "ncl_topk" else []
    pretrain(images, tmp_path, *topk, name=f"{name}.yaml")
    run = only_run(tmp_path, name.split("_")[0])
    assert {path.name for path in run.iterdir()} >= RUN_FILES
    assert len(list(run.glob("*-ep=0.ckpt"))) == 1
    assert len(list(run.glob("events.out.tfevents*"))) == 1
    record = json.loads((run / "args.json").read_text())
    assert record["method"] == name.split("_")[0]
    epoch_loss = [row["train_nce_loss_epoch"] for row in rows(run) if row["train_nce_loss_epoch"]]
    assert len(epoch_loss) == 1


def test_bar_shows_the_terms_of_the_loss_that_the_curves_got_last(images, tmp_path, capfd):
    pretrain(images, tmp_path, "enable_progress_bar=True", "++log_every_n_steps=2")
    shown = capfd.readouterr().out
    (logged,) = (row for row in rows(only_run(tmp_path, "bayesncl")) if row["step"] == "1")
    for term in ("nce", "kl", "class"):
        value = float(logged[f"train_{term}_loss_step"])
        assert f"train_{term}_loss={value:.3g}" in shown
    assert "train_acc1" not in shown


def test_record_holds_every_setting_of_the_method(trained):
    from solo_bayesncl.recipes.method_kwargs import BayesNCLKwargs

    record = json.loads((trained / "args.json").read_text())
    assert set(record["method_kwargs"]) == set(BayesNCLKwargs.model_fields)


@pytest.mark.parametrize("folder", ["demo", "cifar", "imagenet-100"])
def test_other_recipes_train(images, tmp_path, folder):
    pretrain(images, tmp_path, folder=folder)
    assert only_run(tmp_path, "bayesncl").is_dir()


def test_checkpoint_loads_without_running_code_and_in_official_names(trained):
    (checkpoint,) = trained.glob("*.ckpt")
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert {name.split(".")[0] for name in state} == {
        "backbone",
        "classifier",
        "projector",
        "gating_head",
    }


def test_killed_run_resumes_where_its_checkpoint_was(images, tmp_path):
    """The process is killed in its second epoch or later; the next one goes on, then is done."""
    import signal
    import subprocess
    import sys
    import time

    command = [
        sys.executable, "-m", "solo_bayesncl", "pretrain",
        "--config-path", RECIPES / "pretrain/custom", "--config-name", "ncl.yaml",
        *tiny(images, tmp_path, "max_epochs=12", "auto_resume.enabled=True"),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if list(tmp_path.glob("ncl/*/*-ep=[1-9]*.ckpt")):
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.02)
    assert process.wait() == -signal.SIGKILL

    killed = only_run(tmp_path, "ncl")
    assert main(list(map(str, command[3:]))) == 0
    assert only_run(tmp_path, "ncl") == killed
    epochs = [int(row["epoch"]) for row in rows(killed) if row["train_nce_loss_epoch"]]
    assert epochs == list(range(12))
    (checkpoint,) = killed.glob("*.ckpt")
    assert checkpoint.name.endswith("-ep=11.ckpt")

    stamp = checkpoint.stat().st_mtime_ns
    assert main(list(map(str, command[3:]))) == 0
    assert checkpoint.stat().st_mtime_ns == stamp


def test_dali_reads_images_without_labels(jpegs, tmp_path):
    pytest.importorskip("nvidia.dali")
    flat = without_labels(jpegs, tmp_path / "flat")
    pretrain(
        jpegs,
        tmp_path,
        f"data.train_path={flat}",
        "data.no_labels=True",
        "data.val_path=null",
        "data.format=dali",
        "dali.device=cpu",
        "data.num_workers=1",
    )
    assert "semantic_consistency_codes" not in rows(only_run(tmp_path, "bayesncl"))[0]


def test_another_number_of_workers_is_the_same_run(images, tmp_path):
    pretrain(images, tmp_path, "auto_resume.enabled=True")
    pretrain(images, tmp_path, "auto_resume.enabled=True", "data.num_workers=1")
    assert only_run(tmp_path, "bayesncl").is_dir()


def test_another_setting_is_another_run(images, tmp_path):
    pretrain(images, tmp_path, "auto_resume.enabled=True")
    pretrain(images, tmp_path, "auto_resume.enabled=True", "method_kwargs.bayesian_prior_prob=0.7")
    pretrain(images, tmp_path, "auto_resume.enabled=True", "seed=6")
    assert len(list((tmp_path / "bayesncl").iterdir())) == 3


def test_last_epoch_is_saved_whatever_the_frequency(images, tmp_path):
    pretrain(images, tmp_path, "max_epochs=3", "checkpoint.frequency=5")
    (checkpoint,) = only_run(tmp_path, "bayesncl").glob("*.ckpt")
    assert checkpoint.name.endswith("-ep=2.ckpt")


def test_gradient_accumulation_and_multicrop_and_no_validation(images, tmp_path):
    pretrain(
        images,
        tmp_path,
        "++accumulate_grad_batches=2",
        "data.val_path=null",
        "backbone.name=vit_tiny",
        "++backbone.kwargs.patch_size=4",
        "++backbone.kwargs.img_size=16",
    )
    run = only_run(tmp_path, "bayesncl")
    assert "val_acc1" not in rows(run)[0]


def without_labels(images, flat):
    """The training images in one folder."""
    flat.mkdir()
    for number, path in enumerate(sorted(images.glob("train/*/*"))):
        shutil.copy(path, flat / f"{number}{path.suffix}")
    return flat


def test_images_without_labels(images, tmp_path):
    flat = without_labels(images, tmp_path / "flat")
    pretrain(
        images,
        tmp_path,
        f"data.train_path={flat}",
        "data.no_labels=True",
        "data.val_path=null",
    )
    assert "semantic_consistency_codes" not in rows(only_run(tmp_path, "bayesncl"))[0]


def test_mixed_precision_runs_on_the_cpu(images, tmp_path):
    # at 16 px, some CPU builds of torch yield nan in bfloat16 convolutions over single pixels
    pretrain(images, tmp_path, "precision=16-mixed", "augmentations.0.crop_size=32")
    losses = [row["train_nce_loss_epoch"] for row in rows(only_run(tmp_path, "bayesncl"))]
    assert any(losses)
    assert "nan" not in losses


@pytest.mark.parametrize("name", ["simclr", "bayesncl"])
def test_dali_trains_on_jpeg_files_on_the_cpu(jpegs, tmp_path, name):
    pytest.importorskip("nvidia.dali")
    pretrain(
        jpegs,
        tmp_path,
        "data.format=dali",
        "dali.device=cpu",
        "data.num_workers=1",
        "max_epochs=2",
        name=f"{name}.yaml",
    )
    run = only_run(tmp_path, name)
    record = torch.load(next(run.glob("*.ckpt")), weights_only=True)
    assert record["global_step"] == 2 * (48 // 16)
    # the validation split is read whole in every epoch: 24 images
    assert len([row for row in rows(run) if row.get("val_acc1")]) == 2


def test_dali_epochs_hold_every_image_once_and_validation_is_read_whole(
    jpegs, tmp_path, monkeypatch
):
    """1.0.2's own validation iterator is left half read by Lightning's sanity check."""
    pytest.importorskip("nvidia.dali")
    import solo_bayesncl
    from solo_bayesncl.adapters import adapter

    solo_bayesncl.register()
    method = adapter().METHODS["ncl"]
    seen = {"training_step": [], "validation_step": []}

    def recorded(name):
        step = getattr(method, name)

        def record(self, batch, *args, **kwargs):
            if not self.trainer.sanity_checking:
                seen[name].append((self.current_epoch, batch[-1].clone()))
            return step(self, batch, *args, **kwargs)

        return record

    for name in seen:
        monkeypatch.setattr(method, name, recorded(name))
    dali = ["data.format=dali", "dali.device=cpu", "data.num_workers=1", "max_epochs=3"]
    pretrain(jpegs, tmp_path, *dali, name="ncl.yaml")
    for name, per_class in (("training_step", 8), ("validation_step", 4)):
        for epoch in range(3):
            labels = torch.cat([labels for e, labels in seen[name] if e == epoch])
            assert labels.bincount().tolist() == [per_class] * 6, (name, epoch)


def test_dali_trains_the_linear_probe(jpegs, trained, tmp_path):
    pytest.importorskip("nvidia.dali")
    linear(trained, jpegs, tmp_path, "data.format=dali", "dali.device=cpu", "data.num_workers=1")
    (checkpoint,) = only_run(tmp_path, "linear").glob("*.ckpt")
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 48 // 16


def linear(run, images, out, *overrides: str):
    status = main(
        [
            "linear",
            "--config-path",
            str(RECIPES / "linear/custom"),
            "--config-name=bayesncl.yaml",
            f"pretrained_feature_extractor={run}",
            f"data.train_path={images}/train",
            f"data.val_path={images}/val",
            "data.num_workers=0",
            "data.augmentations.crop_size=16",
            "optimizer.batch_size=16",
            "max_epochs=1",
            "precision=32-true",
            "++enable_progress_bar=False",
            f"checkpoint.dir={out}",
            *overrides,
        ]
    )
    assert status == 0


def test_linear_trains_on_the_frozen_backbone(images, trained, tmp_path):
    linear(trained, images, tmp_path)
    run = only_run(tmp_path, "linear")
    before = torch.load(next(trained.glob("*.ckpt")), weights_only=True)["state_dict"]
    after = torch.load(next(run.glob("*.ckpt")), weights_only=True)["state_dict"]
    assert torch.equal(before["backbone.conv1.weight"], after["backbone.conv1.weight"])
    assert any(row.get("val_acc1") for row in rows(run))


def test_linear_with_fewer_than_five_classes(tmp_path, trained):
    make_images(tmp_path / "train", classes=3, per_class=8)
    make_images(tmp_path / "val", classes=3, per_class=2)
    linear(trained, tmp_path, tmp_path / "out")
    assert any(row.get("val_acc5") for row in rows(only_run(tmp_path / "out", "linear")))


def test_evaluate_writes_the_metrics_of_the_run_it_is_given(trained, capsys):
    assert main(["evaluate", str(trained)]) == 0
    table = capsys.readouterr().out
    result = json.loads((trained / "evaluation.json").read_text())
    assert result["method"] == "bayesncl"
    assert result["samples"] == 24
    consistency = result["codes"]["semantic_consistency"]
    assert consistency >= 1 / 6
    assert consistency <= 1
    assert 0 <= result["codes"]["activation_sparsity"] <= 1
    assert 0 <= result["accuracy"]["knn_backbone"] <= 100
    assert set(result["retrieval"]) == {"16"}
    assert f"{100 * result['codes']['semantic_consistency']:.1f} %" in table


def test_evaluate_gives_the_same_twice_and_by_file_as_by_folder(trained, tmp_path):
    (checkpoint,) = trained.glob("*.ckpt")
    for source, target in ((trained, "a.json"), (checkpoint, "b.json")):
        assert main(["evaluate", str(source), "--out", str(tmp_path / target)]) == 0
    first, second = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    assert first == second


def test_evaluate_takes_other_data(trained, jpegs, tmp_path):
    out = tmp_path / "other.json"
    assert main(["evaluate", str(trained), "--data", str(jpegs), "--out", str(out)]) == 0
    assert json.loads(out.read_text())["data"] == str(jpegs)


def test_evaluate_uses_the_gate_as_trained(images, tmp_path):
    """With a threshold that closes every gate, codes are empty."""
    pretrain(images, tmp_path, "method_kwargs.gate_threshold=0.999")
    run = only_run(tmp_path, "bayesncl")
    assert main(["evaluate", str(run)]) == 0
    result = json.loads((run / "evaluation.json").read_text())
    assert result["codes"]["active_dims"] == 0
    assert result["codes"]["semantic_consistency"] is None


def test_evaluate_simclr(images, tmp_path):
    pretrain(images, tmp_path, name="simclr.yaml")
    run = only_run(tmp_path, "simclr")
    assert main(["evaluate", str(run)]) == 0
    result = json.loads((run / "evaluation.json").read_text())
    assert result["codes"]["activation_sparsity"] < 0.01
    assert "gate" not in result


def test_demo_is_a_comparison_on_data_with_factors_and_ends_with_its_page(
    tmp_path, capsys, monkeypatch
):
    from solo_bayesncl.commands import demo

    fewer = functools.partial(demo.make_digits, train_size=160, val_size=60)
    monkeypatch.setattr(demo, "make_digits", fewer)
    command = ["demo", "--out", str(tmp_path / "demo"), "--epochs", "1", "--seeds", "0"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    for heading in ("simclr", "ncl", "bayesncl", "semantic consistency"):
        assert heading in printed
    assert "One seed: no interval" in printed
    page = tmp_path / "demo/comparison/report.html"
    assert printed.rstrip().endswith(f"Page: {page}")
    assert page.exists()
    result = json.loads((tmp_path / "demo/comparison/comparison.json").read_text())
    assert "factors.background.codes.mutual_information_mean" in result["values"]["bayesncl"]
    assert main(command) == 0
    again = capsys.readouterr().out
    assert again == printed[printed.index(again.splitlines()[0]) :]


def test_doctor_finds_the_installed_release(capsys):
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert adapters.find()[0] in text
    assert torch.__version__.split("+")[0] in text
    assert "Pretraining can run." in text


def test_data_makes_a_set_that_trains(tmp_path):
    data = tmp_path / "digits"
    arguments = ["--train-size", "60", "--val-size", "40", "--size", "16"]
    assert main(["data", "digits", "--out", str(data), *arguments]) == 0
    pretrain(data, tmp_path / "runs")
    assert only_run(tmp_path / "runs", "bayesncl").is_dir()


def test_console_script_and_module_are_the_same_program():
    script = shutil.which("solo-bayesncl")
    module = solo_bayesncl("--help")
    assert module.returncode == 0
    assert "pretrain" in module.stdout
    if script:
        import subprocess

        text = subprocess.run([script, "--help"], capture_output=True, text=True, check=True).stdout
        assert "evaluate" in text


def test_help_does_not_import_torch():
    import subprocess
    import sys

    code = (
        "import sys; from solo_bayesncl.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'solo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_cifar_recipe_trains_and_evaluates_with_the_3x3_stem(cifar10, tmp_path):
    pretrain(
        cifar10,
        tmp_path,
        "data.dataset=cifar10",
        f"data.train_path={cifar10}",
        f"data.val_path={cifar10}",
        "augmentations.0.crop_size=32",
        folder="cifar",
    )
    run = only_run(tmp_path, "bayesncl")
    state = torch.load(next(run.glob("*.ckpt")), weights_only=True)["state_dict"]
    assert state["backbone.conv1.weight"].shape[-2:] == (3, 3)
    assert state["classifier.bias"].shape == (10,)
    assert main(["evaluate", str(run)]) == 0
    assert json.loads((run / "evaluation.json").read_text())["samples"] == 10

    # other images of other classes, not CIFAR in another folder
    make_images(tmp_path / "own/train", classes=3, per_class=4, size=50)
    make_images(tmp_path / "own/val", classes=3, per_class=2, size=50)
    assert main(["evaluate", str(run), "--data", str(tmp_path / "own")]) == 0
    result = json.loads((run / "evaluation.json").read_text())
    assert result["samples"] == 6
    assert result["accuracy"]["online_classifier"] is None
