"""Carries out what is not finished of a comparison, one run after another or several at a time."""

import logging
import time
from collections.abc import Iterator, Sequence

from solo_bayesncl.comparison import jobs
from solo_bayesncl.comparison.estimate import TimeLeft
from solo_bayesncl.comparison.parallel import LOG, Outcome, run_parallel
from solo_bayesncl.comparison.plan import Job, Plan
from solo_bayesncl.console import progress
from solo_bayesncl.errors import InputError
from solo_bayesncl.training.divergence import DivergedError

_logger = logging.getLogger(__name__)


def run_all(plan: Plan, time_left: TimeLeft) -> None:
    """Methods first, then the controls that are fitted to them.

    Args:
        plan: of the comparison.
        time_left: is told of each run that is done.

    Raises:
        InputError: for what a run cannot use, at once; for runs that diverged, when the others are
            finished.
    """
    diverged: list[str] = []
    unfitted = ""
    for controls in (False, True):
        to_do = [job for job in plan.jobs if (job.control is not None) == controls]
        fitted = [job for job in to_do if job.base is None or job.base.name not in diverged]
        if len(fitted) < len(to_do):
            unfitted = " (their controls are left out)"
        to_do = [job for job in fitted if jobs.finished(job) is None]
        for outcome in _outcomes(to_do, plan):
            if outcome.error is not None and not outcome.diverged:
                raise InputError(f"{outcome.job.name}: {outcome.error}")
            if outcome.diverged:  # the other runs need not wait for a person
                _logger.info("%s: %s", outcome.job.name, outcome.error)
                diverged.append(outcome.job.name)
            time_left.done(outcome.job, outcome.seconds)
    if diverged:
        raise InputError(
            f"{len(diverged)} of {len(plan.jobs)} runs diverged{unfitted}, the others are "
            f"finished: {'; '.join(diverged)}. Lower optimizer.lr, for one method with a variant; "
            "the same command then runs those alone."
        )


def _outcomes(to_do: Sequence[Job], plan: Plan) -> Iterator[Outcome]:
    n_jobs = min(plan.n_jobs, len(to_do))
    if n_jobs <= 1:
        yield from _one_after_another(to_do, plan.jobs)
        return
    _logger.info(
        "%s runs at a time; what each prints is in %s",
        n_jobs,
        plan.out / "runs/METHOD/seed-N" / LOG,
    )
    outcomes = run_parallel(to_do, n_jobs)
    for number, outcome in enumerate(progress(outcomes, "runs", len(to_do)), start=1):
        if outcome.error is None:
            _logger.info("%s is done, %s of %s", outcome.job.name, number, len(to_do))
        yield outcome


def _one_after_another(to_do: Sequence[Job], planned: Sequence[Job]) -> Iterator[Outcome]:
    for job in to_do:
        _logger.info("run %s of %s: %s", planned.index(job) + 1, len(planned), job.name)
        started = time.monotonic()
        error = None
        try:
            jobs.run(job)
        except DivergedError as diverged:
            error = str(diverged)
        yield Outcome(job, time.monotonic() - started, error, error is not None)
