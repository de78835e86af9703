"""Compares methods over seeds: pretrains, probes and evaluates each, then one table and one page.

solo-bayesncl compare --config-name NAME [methods='[ncl,bayesncl]' seeds='[0,1]' key=value ...]
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from solo_bayesncl.comparison.config import ComparisonConfig, split_overrides
from solo_bayesncl.console import log
from solo_bayesncl.console import results as console
from solo_bayesncl.errors import prefix_arguments
from solo_bayesncl.recipes.compose import find_folder, run_with_hydra
from solo_bayesncl.recipes.overrides import quote, read_text, split_arguments
from solo_bayesncl.recipes.read_errors import as_input_error

if TYPE_CHECKING:
    from solo_bayesncl.comparison.plan import Plan

FOLDER = "scripts/compare"


def run(arguments: list[str]) -> int:
    """Runs the command; `arguments` are Hydra's, and overrides of the compared recipes."""
    flags, overrides, parsed = split_arguments("compare", arguments)
    if parsed.config_path is None:
        flags = ["--config-path", FOLDER, *flags]
    overrides = _for_comparison(overrides)
    plans: list[Plan] = []
    run_with_hydra(
        "compare",
        [*overrides, *(flag for flag in flags if flag != "--multirun")],
        lambda cfg: plans.append(_plan(cfg, here=not parsed.multirun)),
        (ComparisonConfig,),
    )
    for plan in plans:  # none after --help or --cfg job
        if parsed.multirun:
            _compare(plan, partial(_sweep, [*overrides, *flags]))
        else:
            compare(plan)
    return 0


def _plan(cfg: DictConfig, here: bool = True) -> Plan:
    from solo_bayesncl.comparison.plan import Plan  # imports torch, which takes seconds

    return Plan.of(cfg, here)


def _for_comparison(overrides: list[str]) -> list[str]:
    """Overrides of the comparison's keys, with those of recipes passed on as two lists.

    Users type here what they would type behind `pretrain`, and behind `linear.` for the probe.
    """
    own, *of_recipes = split_overrides(overrides)
    lists = [
        # an interpolation is the recipe's
        f"+{name}=[{','.join(quote(one.replace('${', chr(92) + '${')) for one in found)}]"
        for name, found in zip(("typed", "typed_linear"), of_recipes, strict=True)
        if found
    ]
    # a user's own file can build on the package's
    own = read_text(own, (ComparisonConfig,))  # a sweep is over the runs, see `_sweep`
    return [*own, f"hydra.searchpath=[{quote(f'file://{find_folder(FOLDER)}')}]", *lists]


def _sweep(arguments: list[str], plan: Plan) -> None:
    """One Hydra job per run; the chosen launcher decides where and how many at a time.

    Controls follow when the runs that they are fitted to are done.
    """
    from solo_bayesncl.comparison.estimate import log_counts  # imports solo-learn

    log_counts(plan, here=False)
    seeds = ",".join(map(str, plan.seeds))
    for methods in filter(None, (plan.methods, plan.controls)):
        swept = [f"job.method={','.join(map(quote, methods))}", f"job.seed={seeds}"]
        run_with_hydra("compare", [*swept, *arguments], run_one, (ComparisonConfig,))


def run_one(cfg: DictConfig) -> None:
    """The run that `job.method` and `job.seed` name: what Hydra's launchers carry out."""
    # joblib's processes would start those of a loader in their own way, and fail
    multiprocessing.set_start_method(None, force=True)
    from solo_bayesncl.comparison import jobs

    (job,) = _plan(cfg).jobs
    jobs.run(job)


def compare(plan: Plan) -> None:
    """Runs what is not finished, one after another, then prints and writes the comparison."""
    if plan.single:
        _run(plan)
        log("done; the table is made by the same command without job.method and job.seed")
        return
    _compare(plan, _run)


def _compare(plan: Plan, run_all: Callable[[Plan], None]) -> None:
    from solo_bayesncl.comparison.results import reserve

    with prefix_arguments(""), reserve(plan):  # keys of a comparison are no flags
        run_all(plan)
        _finish(plan)


def _run(plan: Plan) -> None:
    from solo_bayesncl.comparison import jobs  # imports solo-learn, which takes seconds
    from solo_bayesncl.comparison.estimate import estimate
    from solo_bayesncl.comparison.running import run_all

    with as_input_error():
        jobs.check_buildable(plan)
        run_all(plan, estimate(plan))


def _finish(plan: Plan) -> None:
    from solo_bayesncl.comparison.results import PAGE, summarise, write_results
    from solo_bayesncl.comparison.sentences import conclusions
    from solo_bayesncl.report.tables import comparison_table, printed_table

    result, reports = summarise(plan)
    # before anything is written, which may fail
    console.print(comparison_table(result))
    if table := printed_table(result):
        console.print(table)
    for line in conclusions(result):
        console.print(line)
    write_results(plan, result, reports)
    console.print(
        "Beside the page: comparison.md, .tex, .csv, .json, differences.csv, figures/, runs/\n"
        f"Page: {plan.out / PAGE}"
    )
