"""Numbers as people read them, by unit: share, percent, count, nats or number."""

MISSING = "–"
MINUS = "−"


def formatted(value: float | None, unit: str) -> str:
    """A value; a dash where it is undefined."""
    if value is None or value != value:
        return MISSING
    text = {
        "share": f"{100 * value:.1f} %",
        "percent": f"{value:.1f} %",
        "count": f"{value:.0f}" if value == round(value) else f"{value:.1f}",
    }.get(unit) or _significant(value)
    return text.replace("-", MINUS)


def formatted_difference(value: float | None, unit: str) -> str:
    """A difference with its sign; of shares and percents in percentage points."""
    if value is None or value != value:
        return MISSING
    text = {
        "share": f"{100 * value:+.1f} points",
        "percent": f"{value:+.1f} points",
        "count": f"{value:+.1f}",
    }.get(unit) or ("+" if value >= 0 else "") + _significant(value)
    return text.replace("-", MINUS)


def formatted_interval(low: float, high: float, unit: str) -> str:
    """Both ends of a difference's interval, without the unit, which stands beside them."""
    ends = (formatted_difference(value, unit).removesuffix(" points") for value in (low, high))
    return " to ".join(ends)


def _significant(value: float) -> str:
    """Two decimals, or three significant digits of small numbers."""
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3g}"


def formatted_summary(summary: dict[str, float | None], unit: str) -> str:
    """mean ± standard deviation [interval]; the mean alone of one seed, or where all are equal."""
    mean, sd = summary["mean"], summary["sd"]
    if mean is None or not sd:
        return formatted(mean, unit)
    scale, suffix = {"share": (100, " %"), "percent": (1, " %")}.get(unit, (1, ""))
    places = 1 if suffix or abs(mean) >= 10 else 2 if abs(mean) >= 0.1 else 4
    mean, sd, low, high = (
        f"{scale * value:.{places}f}" for value in (mean, sd, summary["low"], summary["high"])
    )
    return f"{mean} ± {sd}{suffix} [{low}, {high}]".replace("-", MINUS)


def formatted_over_seeds(summary: dict[str, float | None], unit: str, seeds: int) -> str:
    """As `formatted_summary`, and over how many seeds where some have no value."""
    text = formatted_summary(summary, unit)
    return text if summary["n"] in (0, seeds) else f"{text} ({summary['n']} of {seeds} seeds)"
