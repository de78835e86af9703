"""What can take part in a comparison, and what is refused before anything runs."""

import json
import shutil

import pytest
import torch
from compare_runs import arguments, comparison
from conftest import RECIPES, make_images, only_run, tiny
from omegaconf import OmegaConf

from solo_bayesncl.__main__ import main
from solo_bayesncl.recipes.compose import compose_recipe

pytestmark = pytest.mark.usefixtures("narrow_backbone")


def test_run_in_two_processes_takes_part(images, tmp_path, capfd):
    """DDP over gloo: its pretraining has a command line of its own."""
    options = ["methods=[ncl]", "seeds=[0]", "linear=null", "accelerator=cpu", "devices=2",
               "optimizer.batch_size=8"]  # fmt: skip
    assert main(arguments(images, tmp_path, *options)) == 0
    assert comparison(tmp_path)["optimizer_steps"] == {"ncl": [3]}
    assert capfd.readouterr().out.count("Page: ") == 1


def test_methods_of_solo_learn_take_part_at_their_own_representation(images, tmp_path):
    options = ["methods=[barlow_twins,ncl]", "seeds=[0]", "linear=null"]
    assert main(arguments(images, tmp_path, *options)) == 0
    values = comparison(tmp_path)["values"]["barlow_twins"]
    assert values["codes.active_dims"] == [16]
    assert values["codes.semantic_consistency"] == [pytest.approx(1 / 6, abs=0.02)]


@pytest.mark.parametrize("name", sorted(p.stem for p in (RECIPES / "compare").glob("*.yaml")))
def test_every_comparison_of_the_package_can_be_planned(name, images, tmp_path):
    """Its recipes compose and pass every check, on the data that are given."""
    from solo_bayesncl.comparison.plan import Plan

    cfg = compose_recipe("scripts/compare", name, [f"out={tmp_path}", "seeds=[0]"])
    cfg.overrides += [
        "data.dataset=custom", f"data.train_path={images}/train", f"data.val_path={images}/val",
        "data.format=image_folder", "optimizer.batch_size=16",
    ]  # fmt: skip
    plan = Plan.of(cfg)
    assert [job.method for job in plan.jobs] == [*plan.methods, *plan.controls]
    settings = {method: None for method in plan.methods}
    for job in plan.jobs[: len(plan.methods)]:
        settings[job.method] = json.dumps([job.cfg.method, dict(job.cfg.method_kwargs)])
        assert job.probe is None or job.probe.pretrain_method == job.cfg.method
    assert len(set(settings.values())) == len(plan.methods)  # each is another method


def test_probe_reads_images_as_the_pretraining_does(images, tmp_path):
    from solo_bayesncl.comparison.plan import Plan

    cfg = compose_recipe("scripts/compare", "custom", [f"out={tmp_path}", "seeds=[0]"])
    cfg.overrides += [
        f"data.train_path={images}/train", f"data.val_path={images}/val",
        "data.on_corrupt=skip", "data.max_image_pixels=1000",
    ]  # fmt: skip
    for job in Plan.of(cfg).jobs:
        assert (job.probe.data.on_corrupt, job.probe.data.max_image_pixels) == ("skip", 1000)


@pytest.mark.parametrize("workers", [0, 2])
def test_methods_see_the_same_images_in_the_same_order_from_the_same_backbone(
    images, tmp_path, monkeypatch, workers
):
    """At one seed; also if one has more to draw when it is built, and noise in its steps."""
    import solo_bayesncl
    from solo_bayesncl.adapters import adapter

    solo_bayesncl.register()
    seen, backbones, steps = {}, {}, []

    def recorded(method):
        step = method.training_step

        def record(self, batch, batch_idx):
            if self.global_step == 0:
                steps.append(self.backbone.conv1.weight.detach().clone())
            steps.append(torch.stack([crop.sum() for crop in batch[1]]))
            return step(self, batch, batch_idx)

        monkeypatch.setattr(method, "training_step", record)

    # solo-learn's SimCLR as the registry builds it, and ours below it
    for method in {adapter().SimCLR, *adapter().METHODS.values()} & {
        adapter().SimCLR,
        *(adapter().METHODS[name] for name in ("ncl", "bayesncl", "simclr")),
    }:  # fmt: skip
        if "training_step" in vars(method):
            recorded(method)
    for name in ("simclr", "bayesncl_gs"):
        steps.clear()
        recipe = ["--config-path", str(RECIPES / "pretrain/custom"), "--config-name", name]
        more = ["max_epochs=2", "seed=3", f"data.num_workers={workers}"]
        overrides = tiny(images, tmp_path / name, *more)
        assert main(["pretrain", *recipe, *overrides]) == 0
        backbones[name], *seen[name] = list(steps)
        assert len(seen[name]) == 6
    assert torch.equal(backbones["bayesncl_gs"], backbones["simclr"])
    assert torch.equal(torch.stack(seen["bayesncl_gs"]), torch.stack(seen["simclr"]))
    assert not torch.equal(torch.stack(seen["simclr"][:3]), torch.stack(seen["simclr"][3:]))


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ("methods=[nlc]", "methods: 'nlc' is not known. Choose a variant"),
        ("methods=[]", "methods=[]: give a list of names"),
        ("methods=[ncl,ncl]", "one is named twice"),
        ("methods=['../x']", "names that folders can have"),
        ("seeds=[]", "seeds=[]: give a list of integers"),
        ("seeds=[a]", "give a list of integers"),
        ("seeds=[-1]", "seeds=[-1]: give a list of integers from 0 to 4294967295"),
        ("seeds=[99999999999]", "seeds=[99999999999]: give a list of integers from 0 to"),
        ("seed=3", "a comparison sets seed itself. Give seeds="),
        ("checkpoint.dir=x", "a comparison sets checkpoint.dir itself. Give out="),
        ("out=null", "out is missing: give the folder to write to (a file of your own begins"),
        ("checkpoint.enabled=False", "a comparison sets checkpoint.enabled itself"),
        ("linear.devices=2", "linear.devices=2: a comparison sets devices itself"),
        ("evaluation=5", "evaluation=5: give a section with metadata"),
        ("evaluation.workers=two", "evaluation.workers='two': give an integer"),
        ("evaluation.metadata=5", "evaluation.metadata=5 is not a file"),
        ("evaluation.metadata=none.csv", "evaluation.metadata=none.csv is not a file"),
        ("evaluation.workers=-1", "evaluation.workers=-1: give an integer of at least 0"),
        ("+evaluation.precision=8-true", "evaluation.precision=8-true is not known"),
        (
            "evaluation.reference=resnet9000",
            "evaluation.reference=resnet9000 is not a model",
        ),
        ("job=3", "job=3: give a section with method and seed"),
        ("variants=3", "variants=3: give a section"),
        ("pretrain=null", "pretrain is missing: give a folder of recipes"),
        ("linear=5", "linear=5 is not a folder of recipes"),
        ("evaluation.device=quantum", "evaluation.device=quantum cannot be used"),
        ("+evaluation.speed=1", "evaluation.speed is not a setting of evaluation"),
        ("+variants.x=1", "variants.x=1: give a section with recipe and overrides"),
        ("grid=3", "grid=3: give a section with recipe, name and overrides"),
        ("grid={recipe:ncl}", "grid.name is missing: give a template of names"),
        ("grid={recipe:ncl,name:x,overrides:['seed=0,1']}", "grid.name=x: some of the 2 variants"),
        ("grid={recipe:ncl,name:'{y}',overrides:['a.x=0,1']}", "braces it takes one of x"),
        ("job.method=ncl", "job.method=ncl job.seed=None: give one of methods"),
        ("data.val_path=null", "a comparison measures validation images"),
        ("method_kwargs.temperature=0", "ncl: method_kwargs.temperature=0"),
        ("linear.optimizer.lr=-1", "linear: optimizer.lr=-1"),
        ("pretrain=nowhere", "nowhere is not a folder"),
    ],
)
def test_a_wrong_comparison_is_refused_before_anything_runs(
    images, tmp_path, capsys, wrong, expected
):
    options = ["methods=[ncl]", "seeds=[0]", wrong]
    if wrong.startswith("+variants"):
        options.append("methods=[x]")
    assert main(arguments(images, tmp_path / "out", *options)) == 2
    message = capsys.readouterr().err
    assert expected in message
    assert "Traceback" not in message
    assert not (tmp_path / "out").exists()


def test_typed_overrides_reach_the_runs_whatever_is_in_them(images, tmp_path):
    odd = tmp_path / "it's a=folder [really]"
    make_images(odd / "train", classes=2, per_class=8)
    make_images(odd / "val", classes=2, per_class=2)
    options = ["methods=[ncl]", "seeds=[0]", "linear=null", f"data.train_path={odd}/train",
               f"data.val_path={odd}/val"]  # fmt: skip
    assert main(arguments(images, tmp_path / "out", *options)) == 0
    run = only_run(tmp_path / "out/runs/ncl/seed-0", "ncl")
    assert json.loads((run / "args.json").read_text())["data"]["train_path"] == f"{odd}/train"


def test_a_file_of_ones_own_builds_on_the_package(images, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/mine.yaml").write_text(
        "defaults: [methods, _self_]\n"
        "recipes: demo\n"
        "methods: ['8', ncl]\n"
        "variants: {'8': {recipe: ncl_topk, overrides: [method_kwargs.topk_k=8]}}\n"
    )
    out = tmp_path / "out"
    typed = [o for o in tiny(images, out) if not o.startswith("checkpoint.dir")]
    command = ["compare", "--config-path", str(tmp_path / "mine"), "--config-name", "mine"]
    options = ["seeds=[0]", "linear=null", "--multirun"]
    assert main([*command, f"out={out}", *typed, *options]) == 0
    assert comparison(out)["methods"] == ["8", "ncl"]
    assert comparison(out)["settings"]["8"]["method_kwargs"]["topk_k"] == 8


def test_recipes_of_solo_learn_can_be_compared(images, tmp_path):
    """They lack keys that ours have: seed, sizes of the probe's images, dali."""
    for kind in ("pretrain", "linear"):
        cfg = compose_recipe(str(RECIPES / kind / "custom"), "simclr", [])
        del cfg["seed"], cfg["auto_resume"]
        if kind == "linear":
            del cfg["data"]["augmentations"]
        (tmp_path / kind).mkdir()
        OmegaConf.save(cfg, tmp_path / kind / "simclr.yaml")
    options = [f"pretrain={tmp_path}/pretrain", f"linear={tmp_path}/linear", "methods=[ncl]"]
    assert main(arguments(images, tmp_path / "out", *options, "seeds=[4]")) == 0
    run = tmp_path / "out" / comparison(tmp_path / "out")["runs"]["ncl"][0]
    assert json.loads((run / "args.json").read_text())["seed"] == 4


def test_dali_of_the_pretraining_is_dali_of_the_probe(jpegs, tmp_path):
    pytest.importorskip("nvidia.dali")
    options = ["data.format=dali", "dali.device=cpu", "data.num_workers=1"]
    assert main(arguments(jpegs, tmp_path, "methods=[ncl]", "seeds=[0]", *options)) == 0
    run = only_run(tmp_path / "runs/ncl/seed-0", "linear")
    assert json.loads((run / "args.json").read_text())["dali"]["device"] == "cpu"
    (checkpoint,) = run.glob("*.ckpt")
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 48 // 16
    assert comparison(tmp_path)["optimizer_steps"] == {"ncl": [3]}


def test_method_of_solo_learn_without_its_settings_is_refused_first(images, tmp_path, capsys):
    options = ["methods=[ncl,simsiam]", "seeds=[0]", "linear=null"]
    assert main(arguments(images, tmp_path, *options)) == 2
    assert "simsiam: The model cannot be built from" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.ckpt"))


def test_failure_of_a_launched_run_is_one_message(images, tmp_path, capsys):
    shutil.copytree(images, tmp_path / "data")
    next((tmp_path / "data/train").glob("*/0.png")).write_bytes(b"not an image")
    options = ["methods=[ncl]", "seeds=[0]", "linear=null", "--multirun"]
    assert main(arguments(tmp_path / "data", tmp_path / "out", *options)) == 2
    message = capsys.readouterr().err
    assert "0.png" in message
    assert "Traceback" not in message


def test_a_run_that_another_process_works_on_is_left_alone(images, tmp_path, capsys):
    from filelock import FileLock

    from solo_bayesncl import locks

    folder = tmp_path / "runs/ncl/seed-0"
    folder.mkdir(parents=True)
    with FileLock(folder / locks.NAME):
        assert main(arguments(images, tmp_path, "methods=[ncl]", "seeds=[0]")) == 2
    assert "ncl, seed 0: another process is working on it" in capsys.readouterr().err
    assert not list(folder.rglob("*.ckpt"))
