"""Compares methods over seeds: pretrains, probes and evaluates each, then one table and one page.

solo-bayesncl compare --config-name NAME [methods='[ncl,bayesncl]' seeds='[0,1]' key=value ...]
"""

import multiprocessing

from omegaconf import DictConfig

from solo_bayesncl.comparison.config import ComparisonConfig, split_overrides
from solo_bayesncl.comparison.plan import Plan
from solo_bayesncl.console import log
from solo_bayesncl.console import results as console
from solo_bayesncl.recipes.compose import find_folder, run_with_hydra
from solo_bayesncl.recipes.overrides import quote, read_text, split_arguments
from solo_bayesncl.recipes.read_errors import as_input_error

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
        lambda cfg: plans.append(Plan.of(cfg, here=not parsed.multirun)),
        (ComparisonConfig,),
    )
    for plan in plans:  # none after --help or --cfg job
        if parsed.multirun:
            _sweep([*overrides, *flags], plan)
            _finish(plan)
        else:
            compare(plan)
    return 0


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
    """One Hydra job per run; the chosen launcher decides where and how many at a time."""
    methods, seeds = ",".join(map(quote, plan.methods)), ",".join(map(str, plan.seeds))
    arguments = [f"job.method={methods}", f"job.seed={seeds}", *arguments]
    run_with_hydra("compare", arguments, run_one, (ComparisonConfig,))


def run_one(cfg: DictConfig) -> None:
    """The run that `job.method` and `job.seed` name: what Hydra's launchers carry out."""
    # joblib's processes would start those of a loader in their own way, and fail
    multiprocessing.set_start_method(None, force=True)
    from solo_bayesncl.comparison import jobs

    (job,) = Plan.of(cfg).jobs
    jobs.run(job)


def compare(plan: Plan) -> None:
    """Runs what is not finished, one after another, then writes and prints the comparison."""
    from solo_bayesncl.comparison import jobs  # imports solo-learn, which takes seconds

    with as_input_error():
        jobs.check_buildable(plan)
        for number, job in enumerate(plan.jobs, start=1):
            if jobs.finished(job) is None:
                log(f"run {number} of {len(plan.jobs)}: {job.name}")
                jobs.run(job)
    if plan.single:
        log("done; the table is made by the same command without job.method and job.seed")
    else:
        _finish(plan)


def _finish(plan: Plan) -> None:
    from solo_bayesncl.comparison.results import PAGE, write_results
    from solo_bayesncl.report.tables import comparison_table

    result = write_results(plan)
    console.print(comparison_table(result))
    for sentence in result["sentences"]:
        console.print(sentence, markup=False)
    console.print(
        "Beside the page: comparison.md, .tex, .csv, .json, differences.csv, figures/, runs/\n"
        f"Page: {plan.out / PAGE}",
        markup=False,
    )
