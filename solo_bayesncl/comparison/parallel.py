"""Carries out several runs of a comparison at a time, each in a process of this machine."""

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import joblib
import torch
from joblib.externals.loky.process_executor import BrokenProcessPool

from solo_bayesncl.comparison import jobs
from solo_bayesncl.comparison.plan import Job
from solo_bayesncl.console import console_output, log
from solo_bayesncl.errors import InputError
from solo_bayesncl.signals import kill_with_parent
from solo_bayesncl.training.divergence import DivergedError

LOG = "log.txt"


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        job: the run.
        seconds: that it took.
        error: why it failed, None if it did not.
        diverged: whether it failed because training diverged.
    """

    job: Job
    seconds: float
    error: str | None
    diverged: bool


def run_parallel(to_do: Sequence[Job], n_jobs: int) -> Iterator[Outcome]:
    """Carries out runs that do not need each other; what each prints goes into its `log.txt`.

    Args:
        to_do: the runs.
        n_jobs: processes, which share the cores of the CPU.

    Yields:
        The outcome of each run when it is done. The others are stopped when the iterator is closed.

    Raises:
        InputError: if a process was killed.
    """
    # by what solo-learn imports, before a process has a log to print it to
    os.environ.setdefault("PYTHONWARNINGS", "ignore:pkg_resources is deprecated")
    threads = max(1, joblib.cpu_count() // n_jobs)
    with joblib.parallel_config("loky", n_jobs=n_jobs, inner_max_num_threads=threads):
        parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1)
        try:
            yield from parallel(joblib.delayed(_carry_out)(job, threads) for job in to_do)
        except BrokenProcessPool as error:
            raise InputError(
                f"one of {n_jobs} processes was killed, perhaps for lack of memory. Lower n_jobs; "
                "the same command goes on where the runs were."
            ) from error


def _carry_out(job: Job, threads: int) -> Outcome:
    kill_with_parent()()
    # loader processes are started in the usual way, not in joblib's, which fails
    multiprocessing.set_start_method(None, force=True)
    torch.set_num_threads(threads)
    started = time.monotonic()
    error, diverged = None, False
    job.folder.mkdir(parents=True, exist_ok=True)
    with _output_to(job.folder / LOG), console_output():
        try:
            jobs.run(job)
        except InputError as raised:
            log(str(raised))
            error, diverged = str(raised), isinstance(raised, DivergedError)
    return Outcome(job, time.monotonic() - started, error, diverged)


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """While open, what this process prints, its libraries in C included, is appended to a file."""
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    with path.open("ab") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    try:
        yield
    finally:
        for stream, descriptor, one in zip((sys.stdout, sys.stderr), (1, 2), kept, strict=True):
            stream.flush()
            os.dup2(one, descriptor)
            os.close(one)
