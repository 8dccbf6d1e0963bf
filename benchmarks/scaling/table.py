"""The Markdown table of fitted exponents."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.scaling.axes import AXES
from benchmarks.scaling.fit import Series

_HEAD = (
    "| axis | method | exponent of time | of time / plain | first (× plain) | last (× plain) "
    "| range | note |\n"
    "|---|---|---|---|---|---|---|---|"
)


def markdown(found: Iterable[Series]) -> str:
    """Return a row for each series."""
    return "\n".join([_HEAD, *map(_line, found)])


def _line(series: Series) -> str:
    cells = [AXES[series.axis].label, series.method]
    cells += [_number(series.time_exponent), _number(series.ratio_exponent)]
    if series.values:
        cells += [f"{series.ratios[0]:.2f}", f"{series.ratios[-1]:.2f}"]
        cells += [f"{series.values[0]:,}–{series.values[-1]:,}"]
    else:
        cells += ["", "", "none"]
    cells += [(series.note or "").replace("|", "\\|").replace("_", "\\_")]
    return f"| {' | '.join(cells)} |"


def _number(exponent: float | None) -> str:
    return "" if exponent is None else f"{exponent:.2f}"
