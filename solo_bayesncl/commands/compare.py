"""Compares methods over seeds: pretrains, probes and evaluates each, then one table and one page.

solo-bayesncl compare --config-name NAME [methods='[ncl,bayesncl]' seeds='[0,1]' key=value ...]
"""

import multiprocessing
import re

from omegaconf import DictConfig

from solo_bayesncl.comparison.plan import KEYS, Plan
from solo_bayesncl.console import log
from solo_bayesncl.console import results as console
from solo_bayesncl.recipes.compose import as_input_error, find_folder, run_with_hydra

FOLDER = "scripts/compare"
MULTIRUN = {"-m", "--multirun"}
# Hydra's flags that take the next argument
WITH_VALUE = {
    "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd", "--cfg", "-c",
    "--package", "-p", "--info", "-i",
}  # fmt: skip
LINEAR = ("linear", ".")


def run(arguments: list[str]) -> int:
    """The command; `arguments` are Hydra's, and overrides of the compared recipes."""
    arguments = _sorted_out(arguments)
    sweeps = bool(MULTIRUN & set(arguments))
    plans: list[Plan] = []
    run_with_hydra(
        [a for a in arguments if a not in MULTIRUN],
        lambda cfg: plans.append(Plan.of(cfg, here=not sweeps)),
    )
    for plan in plans:  # none after --help or --cfg job
        if sweeps:
            _sweep(arguments, plan)
            _finish(plan)
        else:
            compare(plan)
    return 0


def _sweep(arguments: list[str], plan: Plan) -> None:
    """One Hydra job a run; the launcher that was chosen decides where and how many at a time."""
    methods, seeds = ",".join(map(_quoted, plan.methods)), ",".join(map(str, plan.seeds))
    run_with_hydra([*arguments, f"job.method={methods}", f"job.seed={seeds}"], run_one)


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


def _in_our_folder(flags: list[str]) -> list[str]:
    """The package's own comparisons where no folder is given."""
    given = any(flag.partition("=")[0] in ("--config-path", "-cp") for flag in flags)
    return flags if given else ["--config-path", FOLDER, *flags]


def _sorted_out(arguments: list[str]) -> list[str]:
    """Hydra's flags first, as it wants them, then overrides of the comparison.

    Everything that is not a key of a comparison belongs to the pretraining recipes, or behind
    `linear.` to those of the probe: people type what they would type behind `pretrain`. It is
    passed on as two lists.
    """
    flags: list[str] = []
    own: list[str] = []
    typed: dict[str, list[str]] = {"typed": [], "typed_linear": []}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        found = re.match(r"(?P<sign>[+~]*)(?P<section>[\w-]+)(?P<dot>\.)?[^=]*(=|$)", argument)
        section = found and found["section"]
        is_override = found and ("=" in argument or argument.startswith("~"))
        if argument.startswith("-"):
            flags.append(argument)
            if argument in WITH_VALUE and rest:
                flags.append(rest.pop(0))
        elif not is_override or (section in KEYS and (section, found["dot"]) != LINEAR):
            own.append(argument)
        elif section == "linear":
            typed["typed_linear"].append(argument.replace("linear.", "", 1))
        else:
            typed["typed"].append(argument)
    lists = [f"+{name}=[{','.join(map(_quoted, found))}]" for name, found in typed.items() if found]
    # a file of one's own can build on the package's
    own.append(f"hydra.searchpath=[{_quoted(f'file://{find_folder(FOLDER)}')}]")
    return [*_in_our_folder(flags), *own, *lists]


def _quoted(text: str) -> str:
    """A string of Hydra's grammar."""
    return "'" + re.sub(r"(\\*)'", r"\1\1\\'", re.sub(r"(\\+)$", r"\1\1", text)) + "'"
