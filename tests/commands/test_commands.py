"""Every command once for real, on tiny data; mostly in this process, as importing takes seconds."""

import csv
import functools
import json
import math
import shutil

import pytest
import torch
from conftest import RECIPES, make_images, only_run, solo_bayesncl, tiny

from solo_bayesncl import adapters
from solo_bayesncl.__main__ import main

pytestmark = pytest.mark.usefixtures("narrow_backbone")

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


def checkpoint(run):
    (path,) = run.glob("*.ckpt")
    return torch.load(path, weights_only=True)


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
    run = only_run(tmp_path, "bayesncl")
    (loss,) = (row["train_nce_loss_epoch"] for row in rows(run) if row["train_nce_loss_epoch"])
    assert 0 < float(loss) < math.inf
    assert checkpoint(run)["global_step"] == 48 // 16


def test_checkpoint_loads_without_running_code_and_in_official_names(trained):
    (checkpoint,) = trained.glob("*.ckpt")
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert {name.split(".")[0] for name in state} == {
        "backbone",
        "classifier",
        "projector",
        "gating_head",
    }


@pytest.mark.parametrize("again", ["data.num_workers=0", "data.num_workers=1"])
def test_finished_run_is_found_and_not_trained_again(images, tmp_path, again):
    """Also with another number of workers, which makes no other run."""
    pretrain(images, tmp_path, "auto_resume.enabled=True")
    run = only_run(tmp_path, "bayesncl")
    (path,) = run.glob("*.ckpt")
    stamp, curves = path.stat().st_mtime_ns, rows(run)
    pretrain(images, tmp_path, "auto_resume.enabled=True", again)
    assert only_run(tmp_path, "bayesncl") == run
    assert list(run.glob("*.ckpt")) == [path]
    assert path.stat().st_mtime_ns == stamp
    assert rows(run) == curves


def test_another_setting_is_another_run(images, tmp_path):
    pretrain(images, tmp_path, "auto_resume.enabled=True")
    pretrain(images, tmp_path, "auto_resume.enabled=True", "method_kwargs.bayesian_prior_prob=0.7")
    pretrain(images, tmp_path, "auto_resume.enabled=True", "seed=6")
    assert len(list((tmp_path / "bayesncl").iterdir())) == 3


def test_last_epoch_is_saved_whatever_the_frequency(images, tmp_path):
    pretrain(images, tmp_path, "max_epochs=3", "checkpoint.frequency=5")
    (checkpoint,) = only_run(tmp_path, "bayesncl").glob("*.ckpt")
    assert checkpoint.name.endswith("-ep=2.ckpt")


def test_mixed_precision_runs_on_the_cpu(images, tmp_path):
    # at 16 px, some CPU builds of torch yield nan in bfloat16 convolutions over single pixels
    pretrain(images, tmp_path, "precision=16-mixed", "augmentations.0.crop_size=32")
    losses = [row["train_nce_loss_epoch"] for row in rows(only_run(tmp_path, "bayesncl"))]
    assert any(losses)
    assert "nan" not in losses


@pytest.mark.parametrize("name", ["simclr", "bayesncl"])
def test_dali_epochs_hold_every_image_once_and_validation_is_read_whole(
    jpegs, tmp_path, monkeypatch, name
):
    """1.0.2's own validation iterator is left half read by Lightning's sanity check."""
    pytest.importorskip("nvidia.dali")
    import solo_bayesncl
    from solo_bayesncl.adapters import adapter

    solo_bayesncl.register()
    # 1.0.2's SimCLR is adapted: not what the registry holds
    method = adapter().SimCLR if name == "simclr" else adapter().METHODS[name]
    seen = {"training_step": [], "validation_step": []}

    def recorded(name):
        step = getattr(method, name)

        def record(self, batch, *args, **kwargs):
            if not self.trainer.sanity_checking:
                seen[name].append((self.current_epoch, batch[-1].clone()))
            return step(self, batch, *args, **kwargs)

        return record

    for step in seen:
        monkeypatch.setattr(method, step, recorded(step))
    dali = ["data.format=dali", "dali.device=cpu", "data.num_workers=1", "max_epochs=2"]
    pretrain(jpegs, tmp_path, *dali, name=f"{name}.yaml")
    for step, per_class in (("training_step", 8), ("validation_step", 4)):
        for epoch in range(2):
            labels = torch.cat([labels for e, labels in seen[step] if e == epoch])
            assert labels.bincount().tolist() == [per_class] * 6, (step, epoch)
    run = only_run(tmp_path, name)
    assert checkpoint(run)["global_step"] == 2 * (48 // 16)
    assert len([row for row in rows(run) if row.get("val_acc1")]) == 2


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
    assert "Codes cut to a length" in table
    assert f"{result['code_lengths']['as_trained']['knn']:.1f} %" in table


def test_evaluate_gives_the_same_twice_and_by_file_as_by_folder(trained, tmp_path):
    (checkpoint,) = trained.glob("*.ckpt")
    for source, target in ((trained, "a.json"), (checkpoint, "b.json")):
        assert main(["evaluate", str(source), "--out", str(tmp_path / target)]) == 0
    first, second = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    assert first == second


def test_quick_evaluation_leaves_out_the_linear_probes_of_the_codes_alone(trained, tmp_path):
    assert main(["evaluate", str(trained), "--out", str(tmp_path / "whole.json")]) == 0
    assert main(["evaluate", str(trained), "--quick", "--out", str(tmp_path / "quick.json")]) == 0
    whole, quick = (
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("whole", "quick")
    )
    for result in (whole, quick):
        probes = [result["accuracy"].pop("probe_codes"), *result.pop("feature_selection").values()]
        probes += [numbers.pop("probe") for numbers in result["code_lengths"].values()]
        assert any(accuracy is not None for accuracy in probes) == (result is whole)
        assert result.pop("quick") == (result is quick)
    assert quick == whole


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
    from solo_bayesncl.data import glyphs

    fewer = functools.partial(glyphs.make_glyphs, train_size=200, size=16)
    monkeypatch.setattr(glyphs, "make_glyphs", lambda out, **_: fewer(out, val_size=100))
    command = ["demo", "--out", str(tmp_path / "demo"), "--epochs", "1", "--seeds", "0"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    for heading in ("simclr", "ncl", "bayesncl", "semantic consistency"):
        assert heading in printed
    assert "not judged below 3 seeds" in printed
    page = tmp_path / "demo/comparison/report.html"
    assert printed.rstrip().endswith(f"Page: {page}")
    assert page.exists()
    result = json.loads((tmp_path / "demo/comparison/comparison.json").read_text())
    assert "factors.slant.codes.mutual_information_mean" in result["values"]["bayesncl"]
    assert main(command) == 0
    again = capsys.readouterr().out
    assert again == printed[printed.index(again.splitlines()[0]) :]


@pytest.mark.parametrize("arguments", [(), ("--import",)])
def test_doctor_finds_the_installed_release(capsys, arguments):
    assert main(["doctor", *arguments]) == 0
    text = capsys.readouterr().out
    assert adapters.find()[0] in text
    assert torch.__version__.split("+")[0] in text
    assert "Pretraining can run." in text
    assert ("nothing was imported" in text) == (not arguments)


def test_data_makes_a_set_that_trains(tmp_path):
    data = tmp_path / "digits"
    arguments = ["--train-size", "60", "--val-size", "40", "--size", "16"]
    assert main(["data", "digits", "--out", str(data), *arguments]) == 0
    pretrain(data, tmp_path / "runs")
    run = only_run(tmp_path / "runs", "bayesncl")
    assert checkpoint(run)["global_step"] == 60 // 16
    assert json.loads((run / "args.json").read_text())["data"]["num_classes"] == 10


def test_console_script_and_module_are_the_same_program():
    script = shutil.which("solo-bayesncl")
    module = solo_bayesncl("--help")
    assert module.returncode == 0
    assert "pretrain" in module.stdout
    if script:
        import subprocess

        text = subprocess.run([script, "--help"], capture_output=True, text=True, check=True).stdout
        assert "evaluate" in text


@pytest.mark.usefixtures("whole_backbone")
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
