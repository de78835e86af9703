"""Writes a finished comparison: numbers, tables, figures and the page."""

from typing import Any

from omegaconf import OmegaConf

from solo_bayesncl import files, runs
from solo_bayesncl.comparison import jobs
from solo_bayesncl.comparison.plan import Plan
from solo_bayesncl.comparison.sentences import (
    conditions_of,
    model_warnings,
    sentences,
    warnings_of,
)
from solo_bayesncl.comparison.statistics import Evaluations, compare
from solo_bayesncl.console import progress
from solo_bayesncl.errors import InputError
from solo_bayesncl.report.figures import save_figures
from solo_bayesncl.report.page import write_page
from solo_bayesncl.report.run import RunReport
from solo_bayesncl.report.tables import write_tables

PAGE = "report.html"


def write_results(plan: Plan) -> dict[str, Any]:
    """Writes tables, figures and page of finished runs.

    Returns:
        What `comparison.json` holds.

    Raises:
        InputError: if a run is not finished.
    """
    evaluations: Evaluations = {method: {} for method in plan.methods}
    folders: dict[str, list[str]] = {method: [] for method in plan.methods}
    settings, reports = {}, []
    for job in progress(plan.jobs, "runs"):
        record = jobs.finished(job)
        if record is None:
            raise InputError(f"The run of {job.name} is not finished: see above.")
        folder = job.folder / record["run"]
        folders[job.method].append(folder.relative_to(plan.out).as_posix())
        evaluation = files.read_json(job.folder / "evaluation.json")
        evaluation["accuracy"] |= record["linear"]
        evaluations[job.method][job.seed] = evaluation
        reports.append(RunReport.read(job.folder, label=job.method, record=folder))
        if job.seed == plan.seeds[0]:
            recipe = OmegaConf.to_container(job.cfg, resolve=True)
            settings[job.method] = runs.comparable(recipe)
    result = {
        **compare(evaluations),
        **conditions_of(evaluations),
        "settings": settings,
        "runs": folders,
    }
    result["sentences"] = [*sentences(result), *warnings_of(result), *model_warnings(evaluations)]
    files.write_json(plan.out / "comparison.json", result)
    write_tables(plan.out, result)
    figures = save_figures(plan.out / "figures", reports, result)
    for stale in {*(plan.out / "figures").iterdir()} - {*figures}:
        stale.unlink()
    write_page(plan.out / PAGE, reports, result, _title(plan.methods))
    return result


def _title(methods: tuple[str, ...]) -> str:
    if len(methods) == 1:
        return f"{methods[0]} over seeds"
    if len(methods) > 5:
        return f"Comparison of {len(methods)} methods"
    return f"Comparison of {', '.join(methods[:-1])} and {methods[-1]}"
