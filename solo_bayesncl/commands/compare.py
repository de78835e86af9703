"""Compares methods over seeds: pretrains, probes and evaluates each, then one table and one page.

solo-bayesncl compare --config-name NAME [methods='[ncl,bayesncl]' seeds='[0,1]' key=value ...]
"""

import re
from typing import Any

from omegaconf import DictConfig
from rich.progress import track

from solo_bayesncl import comparison, files
from solo_bayesncl.commands import jobs
from solo_bayesncl.commands.jobs import Plan
from solo_bayesncl.commands.recipes import run_with_hydra
from solo_bayesncl.console import results as console
from solo_bayesncl.console import say

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
    plans: list[Plan] = []
    run_with_hydra(
        [a for a in arguments if a not in MULTIRUN], lambda cfg: plans.append(Plan.of(cfg))
    )
    for plan in plans:  # none after --help or --cfg job
        if MULTIRUN & set(arguments):
            _sweep(arguments, plan)
            finish(plan)
        else:
            compare(plan)
    return 0


def _sweep(arguments: list[str], plan: Plan) -> None:
    """One Hydra job a run; the launcher that was chosen decides where and how many at a time."""
    methods, seeds = ",".join(plan.methods), ",".join(map(str, plan.seeds))
    run_with_hydra([*arguments, f"job.method={methods}", f"job.seed={seeds}"], run_one)


def run_one(cfg: DictConfig) -> None:
    """The run that `job.method` and `job.seed` name: what Hydra's launchers carry out."""
    plan = Plan.of(cfg)
    jobs.run(plan.job(cfg.job.method, cfg.job.seed), plan.evaluation)


def compare(plan: Plan) -> dict[str, Any] | None:
    """Runs what is not finished, one after another, and writes and prints the comparison.

    Returns:
        What `comparison.json` holds; None if the plan asks for a single run only.
    """
    chosen = plan.chosen
    for number, job in enumerate(chosen, start=1):
        if jobs.finished(job, plan.evaluation) is None:
            say(f"run {number} of {len(chosen)}: {job.method}, seed {job.seed}")
            jobs.run(job, plan.evaluation)
    if len(chosen) < len(plan.jobs):
        say("done; the table is made by the same command without job.method and job.seed")
        return None
    return finish(plan)


def finish(plan: Plan) -> dict[str, Any]:
    """Writes tables, figures and page of finished runs, and prints the table and what it says."""
    from solo_bayesncl.report.figures import save_figures
    from solo_bayesncl.report.page import write_page
    from solo_bayesncl.report.run import RunReport
    from solo_bayesncl.report.tables import comparison_table, write_tables

    records = {job: jobs.require_finished(job, plan.evaluation) for job in plan.jobs}
    evaluations: comparison.Evaluations = {method: {} for method in plan.methods}
    for job, record in records.items():
        evaluations[job.method][job.seed] = jobs.evaluation_of(job, record)
    result = {
        **comparison.compare(evaluations),
        **comparison.record_of(evaluations),
        "runs": {
            method: [records[plan.job(method, seed)]["run"] for seed in plan.seeds]
            for method in plan.methods
        },
    }
    result["sentences"] += comparison.warnings_of(result)
    reports = [
        RunReport.read(job.folder / record["run"], label=job.method)
        for job, record in track(records.items(), description="page", transient=True)
    ]
    files.write_json(plan.out / "comparison.json", result)
    write_tables(plan.out, result)
    save_figures(plan.out / "figures", reports, result)
    write_page(plan.out / "report.html", reports, result, title=plan.out.name)

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
    return [*_in_our_folder(flags), *own, *lists]


def _quoted(text: str) -> str:
    """A string of Hydra's grammar."""
    return "'" + re.sub(r"(\\*)'", r"\1\1\\'", re.sub(r"(\\+)$", r"\1\1", text)) + "'"
