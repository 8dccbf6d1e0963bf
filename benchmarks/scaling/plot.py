"""Small multiples: seconds above, ratio to plain below, a column for each axis, all log–log."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from benchmarks.scaling.axes import AXES
from benchmarks.scaling.fit import Series

# Okabe and Ito's palette; the markers tell the lines apart without it.
_COLOURS = ("#000000", "#7F7F7F", "#0072B2", "#56B4E9", "#009E73", "#D55E00", "#CC79A7", "#E69F00")
_MARKERS = "osD^vXP*"


def figure(found: Sequence[Series]) -> Figure:
    """Return the figure of all series."""
    names = list(dict.fromkeys(series.axis for series in found))
    methods = list(dict.fromkeys(series.method for series in found))
    drawn = Figure(figsize=(1 + 3.1 * len(names), 6.4), layout="constrained")
    grid = drawn.subplots(2, len(names), squeeze=False, sharex="col", sharey="row")
    for column, name in enumerate(names):
        above, below = grid[0][column], grid[1][column]
        for series in (series for series in found if series.axis == name and series.values):
            number = methods.index(series.method)
            style = {
                "color": _COLOURS[number % len(_COLOURS)],
                "marker": _MARKERS[number % len(_MARKERS)],
                "markersize": 4,
                "linewidth": 1.3,
                "label": series.method,
            }
            above.loglog(series.values, series.seconds, **style)
            below.loglog(series.values, series.ratios, **style)
        above.set_title(AXES[name].held.replace(", ", "\n", 1), fontsize=8)
        below.set_xlabel(AXES[name].label)
        values = sorted({value for s in found if s.axis == name for value in s.values})
        below.set_xticks(values, [_short(value) for value in values])
        below.xaxis.set_minor_locator(NullLocator())
        for axes in (above, below):
            axes.grid(which="major", color="#dddddd", linewidth=0.6)
    # Ratios hardly span a decade, where a logarithmic axis would have a single tick.
    ticks = _ticks([ratio for series in found for ratio in series.ratios])
    grid[1][0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    grid[1][0].yaxis.set_minor_locator(NullLocator())
    grid[0][0].set_ylabel("seconds a step")
    grid[1][0].set_ylabel("time / plain")
    handles = {
        label: handle
        for axes in grid[0]
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    drawn.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower center",
        ncols=len(methods) or 1,
        frameon=False,
    )
    return drawn


def _short(value: int) -> str:
    return f"{value / 1e6:g}M" if value >= 1_000_000 else str(value)


def _ticks(ratios: Sequence[float]) -> list[float]:
    largest = max(ratios, default=1.0)
    steps = [0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128]
    return [step for step in steps if min(ratios, default=1.0) / 1.3 <= step <= largest * 1.3]
