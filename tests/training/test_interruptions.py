"""Killed, ended or stopped at any moment, and continued: the same weights to the last bit."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import SUPPORT, environment, only_run
from small_runs import MOMENTS, arguments, assert_same_training, at

from solo_bayesncl.__main__ import main

pytestmark = pytest.mark.usefixtures("narrow_backbone")

EPOCHS = "max_epochs=4"


@pytest.fixture(scope="module")
def undisturbed(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    assert main(arguments(images, out, EPOCHS)) == 0
    return only_run(out, "bayesncl")


def test_run_killed_at_any_moment_ends_as_if_undisturbed(images, tmp_path, undisturbed):
    """`kill -9` in a step, between epochs, within the writing of files; one after another."""
    typed = arguments(images, tmp_path, EPOCHS)
    done = subprocess.run(
        [sys.executable, SUPPORT / "kills_worker.py", *typed],
        capture_output=True, text=True, env=environment(PYTHONPATH=os.pathsep.join(sys.path)),
        check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == [f"{moment} -9" for moment in MOMENTS], done.stderr
    assert main(typed) == 0
    run = only_run(tmp_path, "bayesncl")
    assert_same_training(run, undisturbed)
    assert not [path for path in run.iterdir() if path.suffix == ".partial" or path.name[0] == "."]


@pytest.mark.parametrize(("sign", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("moment", MOMENTS)
def test_signal_ends_training_with_its_status_and_nothing_half_written(
    images, tmp_path, undisturbed, moment, sign, status, capsys
):
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    typed = arguments(images, tmp_path, EPOCHS)
    with at(moment, lambda: os.kill(os.getpid(), sign)):
        assert main(typed) == status
    assert {signal.SIGTERM: "terminated", signal.SIGINT: "interrupted"}[sign] in (
        capsys.readouterr().err
    )
    run = only_run(tmp_path, "bayesncl")
    assert not list(run.glob("*.partial"))
    assert json.loads((run / "args.json").read_text())["max_epochs"] == 4
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    assert main(typed) == 0
    assert_same_training(run, undisturbed)


def processes_with(variable: str) -> list[str]:
    """Processes, except this one, with a variable in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if variable.encode() in (folder / "environ").read_bytes():
                found.append(folder.name)
    return [process for process in found if process != str(os.getpid())]


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_one_that_launched_it(images, tmp_path, sign):
    """DDP over gloo: the signal goes to the parent alone."""
    more = ["devices=2", "optimizer.batch_size=8", "max_epochs=50"]
    mark = f"OF_THIS_TEST={tmp_path}"
    process = subprocess.Popen(
        [sys.executable, "-m", "solo_bayesncl", *arguments(images, tmp_path, *more)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=environment(OF_THIS_TEST=str(tmp_path)),
    )  # fmt: skip
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob("bayesncl/*/*.ckpt")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(processes_with(mark)) >= 2
    process.send_signal(sign)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == {signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}[sign]
    time.sleep(0.5)
    assert processes_with(mark) == []
    if sign == signal.SIGTERM:
        assert "solo-bayesncl: terminated" in message
        assert "Traceback" not in message
    assert not list(tmp_path.glob("bayesncl/*/*.partial"))
