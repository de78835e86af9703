"""Formats numbers by unit: share, percent, count, nats or number."""

from collections.abc import Iterable
from typing import Any

MISSING = "–"
MINUS = "−"
# factor to percent, of the units that are shown in percent
PERCENT = {"share": 100, "percent": 1}


def formatted(value: float | None, unit: str) -> str:
    """A value; a dash where it is undefined."""
    return _formatted(value, unit, sign="", suffix=" %")


def formatted_difference(value: float | None, unit: str) -> str:
    """A difference with its sign; of shares and percents in percentage points."""
    return _formatted(value, unit, sign="+", suffix=" points")


def _formatted(value: float | None, unit: str, sign: str, suffix: str) -> str:
    if value is None or value != value:
        return MISSING
    if unit in PERCENT:
        number = PERCENT[unit] * value
        text = f"{number:{sign}.1f}{suffix}" if sign else f"{_fixed(number, 1)}{suffix}"
    elif unit == "count":
        text = f"{value:{sign}.{0 if value == round(value) and not sign else 1}f}"
    else:  # two decimals, or three significant digits of small numbers
        text = f"{value:{sign}{'.2f' if abs(value) >= 0.1 or value == 0 else '.3g'}}"
    return text.replace("-", MINUS)


def _fixed(value: float, places: int) -> str:
    """A number with so many decimals, without the minus of -0.0."""
    return f"{round(value, places) + 0.0:.{places}f}"


def formatted_interval(low: float | None, high: float | None, unit: str) -> str:
    """Both ends of a difference's interval, without the unit, which the difference shows."""
    if low is None or high is None:
        return MISSING
    ends = (formatted_difference(value, unit).removesuffix(" points") for value in (low, high))
    return " to ".join(ends)


def formatted_ends(low: float | None, high: float | None, unit: str) -> str:
    """Both ends of a value's interval without the unit; empty without an interval."""
    if low is None or high is None or low == high:
        return ""
    return " to ".join(formatted(value, unit).removesuffix(" %") for value in (low, high))


def formatted_summary(
    summary: dict[str, float | None], unit: str, seeds: int | None = None, intervals: bool = True
) -> str:
    """mean ± standard deviation [interval]; the mean alone of one seed, or where all are equal.

    Args:
        summary: n, mean, sd, low and high, as `comparison.statistics.interval` returns.
        unit: of the values.
        seeds: number of seeds; where fewer of them have a value, the text says how many.
        intervals: False leaves them out.
    """
    mean, sd = summary["mean"], summary["sd"]
    if mean is None or not sd:
        text = formatted(mean, unit)
    else:
        scale, suffix = PERCENT.get(unit, 1), " %" if unit in PERCENT else ""
        places = 1 if suffix or abs(mean) >= 10 else 2 if abs(mean) >= 0.1 else 4
        mean, sd, low, high = (
            _fixed(scale * summary[name], places) for name in ("mean", "sd", "low", "high")
        )
        interval = f" [{low}, {high}]" if intervals else ""
        text = f"{mean} ± {sd}{suffix}{interval}".replace("-", MINUS)
    if seeds is None or summary["n"] in (0, seeds):
        return text
    return f"{text} ({summary['n']} of {seeds} seeds)"


def percent(share: float) -> str:
    """A share in percent with as many digits as it needs, such as the level of an interval."""
    return f"{100 * share:g} %"


def listed(values: Iterable[Any]) -> str:
    """The distinct values, separated by commas; a dash without any. None is not a value."""
    return ", ".join(dict.fromkeys(str(v) for v in values if v is not None)) or MISSING
