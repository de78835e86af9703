"""Runs of a comparison in parallel processes, interrupted."""

import signal
import subprocess
import sys
import time

import psutil
import pytest
from compare_runs import arguments
from conftest import environment

pytestmark = pytest.mark.usefixtures("narrow_backbone")


@pytest.mark.parametrize(
    ("killed", "by", "status", "told"),
    [
        ("a run", signal.SIGKILL, 2, "Lower n_jobs; the same command goes on"),
        ("all", signal.SIGINT, 130, "interrupted"),
        ("the command", signal.SIGKILL, -signal.SIGKILL, ""),
    ],
)
def test_interrupted_runs_leave_no_processes(images, tmp_path, request, killed, by, status, told):
    options = ["methods=[ncl]", "seeds=[0,1,2]", "linear=null", "max_epochs=10000", "n_jobs=2"]
    with (tmp_path / "err").open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "solo_bayesncl", *arguments(images, tmp_path / "out", *options)],
            stdout=subprocess.DEVNULL,
            stderr=err,
            env=environment(),
            start_new_session=True,
        )
    request.addfinalizer(process.kill)
    deadline = time.monotonic() + 200
    while len(list(tmp_path.glob("out/runs/ncl/*/ncl/*/metrics.csv"))) < 2:
        assert process.poll() is None, (tmp_path / "err").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    started = psutil.Process(process.pid).children(recursive=True)
    workers = [one for one in started if "LokyProcess" in " ".join(one.cmdline())]
    assert len(workers) == 2
    targets = {"a run": workers[:1], "the command": [psutil.Process(process.pid)]}
    for target in targets.get(killed, [psutil.Process(process.pid), *started]):
        target.send_signal(by)
    assert process.wait(timeout=100) == status
    assert told in (tmp_path / "err").read_text()
    assert not psutil.wait_procs(workers, timeout=30)[1]
