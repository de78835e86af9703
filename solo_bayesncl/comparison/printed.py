"""Results of a publication beside those of a comparison."""

from typing import Any

from omegaconf import OmegaConf

from solo_bayesncl.comparison.config import PrintedSection
from solo_bayesncl.comparison.plan import Plan
from solo_bayesncl.comparison.statistics import interval
from solo_bayesncl.recipes.validation import plain
from solo_bayesncl.report.catalogue import METRICS, Metric


def beside_printed(plan: Plan, summary: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """What `comparison.json` holds of printed results, None where the comparison names none.

    Args:
        plan: of the comparison; methods and controls that it does not compare are left out.
        summary: method -> metric key -> mean and interval, of `statistics.compare`.

    Returns:
        `source`; `rows`, one per printed value: `metric`, `label`, `unit`, `method`, `printed`,
        `difference` (our mean minus printed, None where ours is undefined), and ours as `interval`
        returns it; `unpublished`: method -> key -> our value, of settings that the source lacks.
    """
    if plan.printed is None:
        return None
    rows = [
        _row(metric, method, printed, summary[method].get(metric.key) or interval([]))
        for metric in METRICS
        for method in (*plan.methods, *plan.controls)
        if (printed := metric.of(plan.printed.methods.get(method, {}))) is not None
    ]
    return {
        "source": plan.printed.source,
        "rows": rows,
        "unpublished": _unpublished(plan, plan.printed),
    }


def _row(metric: Metric, method: str, printed: float, ours: dict[str, Any]) -> dict[str, Any]:
    return {
        "metric": metric.key,
        "label": metric.label,
        "unit": metric.unit,
        "method": method,
        "printed": printed,
        "difference": None if ours["mean"] is None else ours["mean"] - printed,
        **ours,
    }


def _unpublished(plan: Plan, printed: PrintedSection) -> dict[str, dict[str, Any]]:
    recipes = {job.method: job.cfg for job in plan.jobs}
    return {
        method: {key: plain(OmegaConf.select(recipes[method], key)) for key in keys}
        for method in plan.methods
        if (keys := printed.unpublished.get(method))
    }


def printed_sentences(printed: dict[str, Any] | None) -> list[str]:
    """What readers must know of the comparison with a source: settings that it does not give."""
    if printed is None:
        return []
    by_settings: dict[str, list[str]] = {}
    for method, settings in printed["unpublished"].items():
        text = ", ".join(f"{key}={value}" for key, value in settings.items())
        by_settings.setdefault(text, []).append(method)
    chosen = [
        f"Not published, so our choice: {text} ({', '.join(methods)})."
        for text, methods in by_settings.items()
    ]
    return [
        *chosen,
        f"Printed values are those of {printed['source']}. Where our code differs from the "
        "official one on purpose, docs/differences.md says how and why.",
    ]
