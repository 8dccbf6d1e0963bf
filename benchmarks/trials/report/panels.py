"""Panels of lines: one per task and trusted size."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.trials.plans import TaskPlan
from benchmarks.trials.report.looks import add_legend, tidy
from benchmarks.trials.report.outcomes import Outcome, Outcomes

Draw = Callable[[Axes, TaskPlan, Outcome], bool]
_COLUMNS = 4


def panels_of(found: Outcomes) -> list[tuple[TaskPlan, int]]:
    """Return the tasks and trusted sizes, one a panel."""
    return [(task, size) for task in found.plan for size in task.trusted]


def line_panels(found: Outcomes, draw: Draw, x_label: str, y_label: str) -> Figure:
    """Draw the outcomes of each task and size on axes of their own, with one legend for all.

    Args:
        found: The outcomes.
        draw: Draws one outcome, and returns whether there was anything to draw.
        x_label: What the horizontal axis shows, with its unit.
        y_label: What the vertical axis shows, with its unit.
    """
    wanted = panels_of(found)
    columns = min(_COLUMNS, len(wanted))
    lines = -(-len(wanted) // columns)
    figure = Figure(figsize=(max(5.5, 3.2 * columns), 2.7 * lines + 0.9), layout="constrained")
    grid = list(figure.subplots(lines, columns, squeeze=False).flat)
    drawn: dict[str, None] = {}
    for axes, (task, size) in zip(grid, wanted, strict=False):
        for outcome in _outcomes(found, task, size):
            if draw(axes, task, outcome):
                drawn[outcome.cell.row] = None
        axes.set_title(f"{task.name}, {size} {task.unit}", fontsize=8)
        axes.set_xlabel(x_label, fontsize=8)
        axes.set_ylabel(y_label, fontsize=8)
        tidy(axes)
    for axes in grid[len(wanted) :]:
        axes.set_visible(False)
    add_legend(figure, list(drawn), columns=min(7, max(3, 2 * columns)))
    return figure


def _outcomes(found: Outcomes, task: TaskPlan, size: int) -> Iterator[Outcome]:
    for name in task.rows:
        outcome = found.row(task, size, name)
        if outcome is not None:
            yield outcome
