"""Validation accuracy against the learning rate."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.label_noise.report.looks import LOOKS
from benchmarks.label_noise.report.outcomes import Outcome, Outcomes
from benchmarks.label_noise.report.panels import line_panels
from benchmarks.label_noise.settings import Plan


def tuning_figure(found: Outcomes, plan: Plan) -> Figure:
    """Draw a line per method on seed 0."""
    figure = line_panels(
        found, plan, _draw, "learning rate", "validation accuracy,\nseed 0, last epoch (%)"
    )
    rates = sorted(plan.rates)
    for axes in figure.axes:
        axes.set_xscale("log")
        axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
        axes.minorticks_off()
    return figure


def _draw(axes: Axes, outcome: Outcome) -> bool:
    if not outcome.tuning:
        return False
    accuracies = [100 * accuracy for accuracy in outcome.tuning.values()]
    style = LOOKS[outcome.cell.method].style()
    axes.plot(list(outcome.tuning), accuracies, linewidth=1.4, **style)  # type: ignore[arg-type]
    return True
