"""Writes a finished comparison: numbers, tables, figures and the page."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from solo_bayesncl import files, runs
from solo_bayesncl.comparison import jobs
from solo_bayesncl.comparison.plan import Plan
from solo_bayesncl.comparison.printed import beside_printed, printed_sentences
from solo_bayesncl.comparison.sentences import (
    conditions_of,
    highlights,
    model_warnings,
    sentences,
    warnings_of,
)
from solo_bayesncl.comparison.statistics import Evaluations, compare
from solo_bayesncl.console import progress
from solo_bayesncl.errors import InputError, prefix_errors
from solo_bayesncl.locks import locked
from solo_bayesncl.outputs import (
    cannot_be_written,
    check_outputs,
    is_page,
    is_record,
    write_together,
)
from solo_bayesncl.report.figures import figure_names, save_figures
from solo_bayesncl.report.page import write_page
from solo_bayesncl.report.run import RunReport
from solo_bayesncl.report.tables import TABLES, write_tables

FIGURES = "figures"
RECORD = "comparison.json"
LOCK = ".solo-bayesncl.lock"
PAGE = "report.html"


@contextmanager
def reserve(plan: Plan) -> Iterator[None]:
    """Checks the folder of a comparison before the work, and keeps it from others while open.

    Raises:
        InputError: if it cannot be written, holds files of the user's under the names of results,
            or another comparison is at work there.
    """
    names = (RECORD, *TABLES, PAGE, *(f"{FIGURES}/{name}" for name in figure_names()))
    check_outputs("out", plan.out, [plan.out / name for name in names], partial(_is_ours, plan.out))
    plan.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        with prefix_errors(f"out={plan.out}"):
            held.enter_context(locked(plan.out, name=LOCK))
        yield


def _is_ours(out: Path, path: Path) -> bool:
    """Pages tell by themselves; the names of the rest belong to a folder with its record."""
    if path.name == PAGE:
        return is_page(path)
    record = out / RECORD
    return record.is_file() and is_record(record, ("methods", "summary", "differences"))


def summarise(plan: Plan) -> tuple[dict[str, Any], list[RunReport]]:
    """What `comparison.json` holds, and the finished runs.

    Raises:
        InputError: if a run is not finished.
    """
    compared = (*plan.methods, *plan.controls)
    evaluations: Evaluations = {method: {} for method in compared}
    folders: dict[str, list[str]] = {method: [] for method in compared}
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
            if job.control is not None:
                settings[job.method]["control"] = job.control
    result = {
        **compare(evaluations),
        **conditions_of(evaluations),
        "settings": settings,
        "runs": folders,
    }
    printed = beside_printed(plan, result["summary"])
    notes = printed_sentences(printed)
    if printed is not None:
        result["printed"] = {**printed, "notes": notes}
    result["highlights"] = highlights(result)
    result["warnings"] = [*warnings_of(result), *model_warnings(evaluations)]
    result["sentences"] = [
        *sentences(result),
        *notes,
        *result["warnings"],
    ]
    return result, reports


def write_results(plan: Plan, result: dict[str, Any], reports: list[RunReport]) -> None:
    """Writes `comparison.json`, tables, figures and page; figures without data do not stay.

    Raises:
        ArgumentError: if they cannot be written.
    """
    try:
        with write_together(plan.out, record=RECORD) as folder:
            files.write_json(folder / RECORD, result)
            write_tables(folder, result)
            figures = save_figures(folder / FIGURES, reports, result)
            write_page(folder / PAGE, reports, result, _title((*plan.methods, *plan.controls)))
        for name in figure_names() - {path.name for path in figures}:
            (plan.out / FIGURES / name).unlink(missing_ok=True)
    except OSError as error:
        raise cannot_be_written("out", plan.out, error) from error


def _title(methods: tuple[str, ...]) -> str:
    if len(methods) == 1:
        return f"{methods[0]} over seeds"
    if len(methods) > 5:
        return f"Comparison of {len(methods)} methods"
    return f"Comparison of {', '.join(methods[:-1])} and {methods[-1]}"
