"""Compares methods over seeds: pretrains, probes and evaluates each, then one table and one page.

solo-bayesncl compare --config-name NAME [methods='[ncl,bayesncl]' seeds='[0,1]' key=value ...]
"""

import multiprocessing
import re
from typing import Any

from omegaconf import DictConfig, OmegaConf

from solo_bayesncl import files
from solo_bayesncl.comparison import jobs
from solo_bayesncl.comparison import statistics as comparison
from solo_bayesncl.comparison.jobs import Plan
from solo_bayesncl.console import progress, say
from solo_bayesncl.console import results as console
from solo_bayesncl.recipes.compose import as_input_error, find_folder, run_with_hydra
from solo_bayesncl.runs import run as runs

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
            finish(plan)
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
    (job,) = Plan.of(cfg).jobs
    jobs.run(job)


def compare(plan: Plan) -> dict[str, Any] | None:
    """Runs what is not finished, one after another, and writes and prints the comparison.

    Returns:
        What `comparison.json` holds; None if the plan is of a single run.
    """
    with as_input_error():
        jobs.check_buildable(plan)
        for number, job in enumerate(plan.jobs, start=1):
            if jobs.finished(job) is None:
                say(f"run {number} of {len(plan.jobs)}: {job.name}")
                jobs.run(job)
    if plan.single:
        say("done; the table is made by the same command without job.method and job.seed")
        return None
    return finish(plan)


def finish(plan: Plan) -> dict[str, Any]:
    """Writes tables, figures and page of finished runs, and prints the table and what it says."""
    from solo_bayesncl.report.figures import save_figures
    from solo_bayesncl.report.page import write_page
    from solo_bayesncl.report.run import RunReport
    from solo_bayesncl.report.tables import comparison_table, write_tables

    records = {job: jobs.require_finished(job) for job in plan.jobs}
    evaluations: comparison.Evaluations = {method: {} for method in plan.methods}
    for job, record in records.items():
        evaluations[job.method][job.seed] = jobs.evaluation_of(job, record)
    result = {
        **comparison.compare(evaluations),
        **comparison.record_of(evaluations),
        "settings": {
            method: runs.comparable(
                OmegaConf.to_container(plan.job(method, plan.seeds[0]).cfg, resolve=True)
            )
            for method in plan.methods
        },
        "runs": {
            method: [
                (job.folder / record["run"]).relative_to(plan.out).as_posix()
                for job, record in records.items()
                if job.method == method
            ]
            for method in plan.methods
        },
    }
    result["sentences"] += comparison.warnings_of(result)
    reports = [
        RunReport.read(job.folder, label=job.method, record=job.folder / record["run"])
        for job, record in progress(records.items(), "page")
    ]
    files.write_json(plan.out / "comparison.json", result)
    write_tables(plan.out, result)
    figures = save_figures(plan.out / "figures", reports, result)
    for stale in {*(plan.out / "figures").iterdir()} - {*figures}:
        stale.unlink()
    write_page(plan.out / "report.html", reports, result, _title(plan.methods))

    console.print(comparison_table(result))
    for sentence in result["sentences"]:
        console.print(sentence, markup=False)
    console.print(
        "Beside the page: comparison.md, .tex, .csv, .json, differences.csv, figures/, runs/\n"
        f"Page: {plan.out / 'report.html'}",
        markup=False,
    )
    return result


def _in_our_folder(flags: list[str]) -> list[str]:
    """The package's own comparisons where no folder is given."""
    given = any(flag.partition("=")[0] in ("--config-path", "-cp") for flag in flags)
    return flags if given else ["--config-path", FOLDER, *flags]


def _title(methods: tuple[str, ...]) -> str:
    if len(methods) == 1:
        return f"{methods[0]} over seeds"
    if len(methods) > 5:
        return f"Comparison of {len(methods)} methods"
    return f"Comparison of {', '.join(methods[:-1])} and {methods[-1]}"


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
        elif not is_override or (section in jobs.KEYS and (section, found["dot"]) != LINEAR):
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
