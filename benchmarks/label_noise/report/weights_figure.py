"""The share of weight on rightly labelled samples, epoch by epoch."""

from __future__ import annotations

from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.label_noise.report.looks import LOOKS
from benchmarks.label_noise.report.outcomes import Outcome, Outcomes
from benchmarks.label_noise.report.panels import line_panels
from benchmarks.label_noise.settings import Plan

_EQUAL = ("mixed", "trusted")  # equal weights, which plain shows already, and none


def weights_figure(found: Outcomes, plan: Plan) -> Figure:
    """Draw a line per method, the mean of its seeds; ``plain`` is the share of the data."""
    return line_panels(
        found, plan, _draw, "epoch", "weight on clean samples (%)\nunder imbalance: on rare classes"
    )


def _draw(axes: Axes, outcome: Outcome) -> bool:
    if outcome.cell.method in _EQUAL:
        return False
    if outcome.cell.method == "plain":
        _draw_data(axes, outcome)
        return True
    shares = [
        record.weight_on_rare or record.weight_on_clean
        for record in outcome.records.values()
        if not record.diverged
    ]
    known = [share for share in shares if share]
    if not known:
        return False
    means = [100 * fmean(values) for values in zip(*known, strict=True)]
    axes.plot(
        range(1, len(means) + 1),
        means,
        linewidth=1.4,
        markevery=3,
        **LOOKS[outcome.cell.method].style(),  # type: ignore[arg-type]
    )
    return True


def _draw_data(axes: Axes, outcome: Outcome) -> None:
    """Draw what equal weights come to but for the chance of a batch."""
    records = outcome.records.values()
    shares = [r.clean_share if r.rare_share is None else r.rare_share for r in records]
    if shares:
        axes.axhline(100 * fmean(shares), linewidth=1.4, **LOOKS["plain"].style())  # type: ignore[arg-type]
