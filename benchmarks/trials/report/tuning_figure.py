"""Validation against the learning rate."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.trials.plans import TaskPlan
from benchmarks.trials.report.looks import look_of
from benchmarks.trials.report.outcomes import Outcome, Outcomes
from benchmarks.trials.report.panels import line_panels


def tuning_figure(found: Outcomes) -> Figure:
    """Draw a line per row on the first seed."""
    return line_panels(found, _draw, "learning rate", "validation, first seed,\nlast epoch (%)")


def _draw(axes: Axes, task: TaskPlan, outcome: Outcome) -> bool:
    if not outcome.tuning:
        return False
    values = [100 * value for value in outcome.tuning.values()]
    style = look_of(outcome.cell.row).style()
    axes.plot(list(outcome.tuning), values, linewidth=1.4, **style)  # type: ignore[arg-type]
    rates = sorted(task.rates)
    axes.set_xscale("log")
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.minorticks_off()
    return True
