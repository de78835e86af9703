"""What a comparison says of its length, before it starts and after each run."""

import json
import sys
import time
from dataclasses import replace

import pytest
from omegaconf import OmegaConf

from solo_bayesncl import files
from solo_bayesncl.comparison import estimate, measure
from solo_bayesncl.comparison.estimate import in_words, log_counts
from solo_bayesncl.comparison.measure import Speed
from solo_bayesncl.comparison.plan import Plan
from solo_bayesncl.recipes.compose import compose_recipe

pytestmark = pytest.mark.usefixtures("narrow_backbone")


def plan_of(images, out, *overrides: str, methods: str = "ncl", here: bool = True, **keys) -> Plan:
    """Of 48 training and 24 validation images: 3 steps of 16 in an epoch of either training."""
    typed = [f"methods=[{methods}]", "seeds=[0,1]", f"out={out}"]
    cfg = compose_recipe("scripts/compare", "custom", typed)
    cfg.overrides = [
        f"data.train_path={images}/train", f"data.val_path={images}/val", "data.num_workers=0",
        "optimizer.batch_size=16", "max_epochs=7", "augmentations.0.crop_size=16",
        "method_kwargs.proj_hidden_dim=32", "method_kwargs.proj_output_dim=16",
        "precision=32-true", "accelerator=cpu", *overrides,
    ]  # fmt: skip
    cfg.linear_overrides = ["optimizer.batch_size=16", "max_epochs=2"]
    cfg.update(keys)
    return Plan.of(cfg, here)


@pytest.mark.parametrize(
    ("overrides", "epochs", "steps"),
    [
        ((), 14, 42),
        (("optimizer.batch_size=10",), 14, 56),  # the incomplete batch is dropped
        (("devices=2", "optimizer.batch_size=8"), 14, 42),
        (("++max_steps=10",), 8, 20),
        (("++limit_train_batches=2",), 14, 28),
        (("++limit_train_batches=0.34",), 14, 14),
        (("++data.fraction=0.5",), 14, 14),
    ],
)
def test_counts_are_those_of_the_trainings(images, tmp_path, caplog, overrides, epochs, steps):
    with caplog.at_level("INFO"):
        work = log_counts(plan_of(images, tmp_path, *overrides))
    assert (
        f"2 runs to do: {epochs} epochs ({steps} steps) of pretraining, 4 epochs (12 steps) of "
        "linear probes"
    ) in caplog.text
    assert sum(one.steps for one in work.values()) == steps


def test_cifar_need_not_be_there_to_be_counted(images, tmp_path, caplog):
    plan = plan_of(images, tmp_path, "data.dataset=cifar10", "optimizer.batch_size=256")
    with caplog.at_level("INFO"):
        log_counts(plan, here=False)
    assert "2 runs to do: 14 epochs (2,730 steps) of pretraining" in caplog.text


@pytest.mark.parametrize(
    ("devices", "steps"), [("[0,1]", 14), ("'0,1'", 14), ("'3'", 14), ("auto", 42), ("-1", 42)]
)
def test_processes_of_another_machine_are_counted_in_every_form(
    images, tmp_path, caplog, devices, steps
):
    plan = plan_of(images, tmp_path, f"devices={devices}", here=False)
    with caplog.at_level("INFO"):
        log_counts(plan, here=False)
    assert f"({steps} steps) of pretraining" in caplog.text


def test_images_on_another_machine_leave_the_number_of_runs(images, tmp_path, caplog):
    plan = plan_of(images, tmp_path)
    for job in plan.jobs:
        job.cfg.data.train_path = "/nowhere"
    with caplog.at_level("INFO"):
        assert log_counts(plan, here=False) == {}
    assert caplog.messages == ["2 runs to do"]


def test_speed_is_that_of_training_and_validation(images, tmp_path):
    plan = plan_of(images, tmp_path / "out")
    recipe = OmegaConf.to_container(plan.jobs[0].cfg, resolve=True)
    files.write_json(tmp_path / measure.RECIPES, {"ncl": recipe})
    started = time.monotonic()
    measure.main(tmp_path)
    whole = time.monotonic() - started
    speed = Speed(**json.loads((tmp_path / measure.SPEEDS).read_text())["ncl"])
    # three steps forward and backward; 24 images forward, in two batches
    assert 0 < speed.image * 16 < speed.step < whole / 3
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.rglob("*.ckpt"))


def test_no_method_is_measured_for_long(images, tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "SECONDS", 0.0)
    monkeypatch.setattr(measure, "SECONDS_IN_ALL", 0.0)
    plan = plan_of(images, tmp_path / "out", methods="ncl,bayesncl")
    recipes = {job.method: OmegaConf.to_container(job.cfg, resolve=True) for job in plan.jobs}
    files.write_json(tmp_path / measure.RECIPES, recipes)
    measure.main(tmp_path)
    (speed,) = json.loads((tmp_path / measure.SPEEDS).read_text()).values()
    assert speed["step"] > 0
    assert speed["image"] is None  # the first step was the last


@pytest.mark.parametrize(
    ("program", "told"),
    [("echo 'out of luck' >&2; exit 1", "out of luck"), ("sleep 9", "no step ended in 0 seconds")],
)
def test_failed_measurement_is_told_and_stops_nothing(
    images, tmp_path, monkeypatch, caplog, program, told
):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{program}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(estimate, "LONG", 0)
    monkeypatch.setattr(measure, "LONGEST", 0.4)
    plan = plan_of(images, tmp_path / "out")
    with caplog.at_level("INFO"):
        time_left = estimate.estimate(plan)
    assert f"could not be estimated: {told}" in caplog.text
    time_left.done(plan.jobs[0], seconds=1)
    assert not (tmp_path / "out").exists()


def test_hours_are_those_of_all_parts(images, tmp_path):
    plan = plan_of(images, tmp_path, methods="ncl,bayesncl")
    work = log_counts(plan)
    speeds = {"ncl": Speed(2.0, 0.5), "bayesncl": Speed(3.0)}
    predicted = estimate._seconds(work, speeds)
    # validation of 7 epochs, the probe's 2 epochs, the evaluation
    passed = 7 * 24 + 2 * (48 + 24) + (48 + 24)
    assert predicted["ncl, seed 0"] == pytest.approx(21 * 2.0 + passed * 0.5)
    assert predicted["bayesncl, seed 1"] == pytest.approx(21 * 3.0 + passed * 3.0 / 16 / 6)
    del speeds["bayesncl"]  # not reached: as fast as the others
    assert estimate._seconds(work, speeds)["bayesncl, seed 0"] == predicted["ncl, seed 0"]


def test_control_is_as_fast_as_the_method_that_it_is_fitted_to(images, tmp_path):
    controls = {"parts": {"of": "ncl", "kind": "nmf"}}
    plan = plan_of(images, tmp_path, methods="ncl,bayesncl", controls=controls)
    speeds = {"ncl": Speed(2.0, 0.5), "bayesncl": Speed(3.0, 1.5)}
    predicted = estimate._seconds(log_counts(plan), speeds)
    assert predicted["parts, seed 0"] == pytest.approx((48 + 24) * 0.5)


@pytest.mark.parametrize(("n_jobs", "left"), [(1, (5.0, 4.0, 1.5)), (2, (2.5, 2.0))])
def test_time_left_follows_what_runs_really_take(
    images, tmp_path, monkeypatch, caplog, n_jobs, left
):
    plan = replace(plan_of(images, tmp_path, methods="ncl,bayesncl"), n_jobs=n_jobs)
    predicted = {job.name: of for job, of in zip(plan.jobs, (1, 1, 2, 2), strict=True)}
    monkeypatch.setattr(estimate, "_seconds", lambda *_: predicted)
    time_left = estimate.estimate(plan)
    caplog.clear()
    with caplog.at_level("INFO"):
        for job in plan.jobs[: len(left)]:
            time_left.done(job, seconds=3600)
    # 3600 s for a predicted 1; 7200 for 2; 10800 for 4
    assert caplog.messages == [f"about {hours} hours left" for hours in left]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "10 seconds"), (44, "40 seconds"), (90, "1.5 minutes"), (1500, "25 minutes"),
     (5400, "1.5 hours"), (11520, "3.2 hours"), (100_000, "28 hours"), (1e6, "12 days")],
)  # fmt: skip
def test_durations_are_in_the_unit_that_people_use(seconds, words):
    assert in_words(seconds) == words
