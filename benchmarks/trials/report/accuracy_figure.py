"""What each row came to on the test set, a dot per seed."""

from __future__ import annotations

from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.trials.plans import TaskPlan
from benchmarks.trials.report.looks import BLUE, ORANGE, tidy
from benchmarks.trials.report.outcomes import Outcomes
from benchmarks.trials.report.panels import panels_of
from benchmarks.trials.rows import RECIPE

_COLUMNS = 4


def accuracy_figure(found: Outcomes) -> Figure:
    """Draw a panel per task and size, a line of dots per row."""
    wanted = panels_of(found)
    columns = min(_COLUMNS, len(wanted))
    lines = -(-len(wanted) // columns)
    longest = max(len(task.rows) for task in found.plan)
    figure = Figure(
        figsize=(3.4 * columns + 0.8, lines * (0.9 + 0.2 * longest) + 0.6), layout="constrained"
    )
    grid = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes, (task, size) in zip(grid, wanted, strict=False):
        _panel(axes, found, task, size)
    for axes in grid[len(wanted) :]:
        axes.set_visible(False)
    marks = [
        Line2D([], [], linestyle="", marker="o", color=BLUE, label="last epoch"),
        Line2D([], [], linestyle="", marker="o", color=ORANGE, label="the recipe, last epoch"),
        Line2D([], [], linestyle="", marker="|", color="black", label="mean of the seeds"),
        Line2D([], [], linestyle="", marker="x", color="black", label="best epoch, mean"),
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _panel(axes: Axes, found: Outcomes, task: TaskPlan, size: int) -> None:
    for place, name in enumerate(task.rows):
        outcome = found.row(task, size, name)
        if outcome is None or not outcome.records:
            continue
        values = [100 * record.test for record in outcome.records.values()]
        colour = ORANGE if name == RECIPE else BLUE
        axes.plot(values, [place] * len(values), "o", color=colour, markersize=4, alpha=0.6, mew=0)
        axes.plot(fmean(values), place, "|", color="black", markersize=9, mew=1.6)
        stopped = outcome.mean_stopped()
        if stopped is not None:
            axes.plot(100 * stopped, place, "x", color="black", markersize=4)
    axes.set_yticks(range(len(task.rows)), list(task.rows), fontsize=7)
    axes.set_ylim(len(task.rows) - 0.5, -0.5)
    axes.set_title(f"{task.name}, {size} {task.unit}", fontsize=8)
    axes.set_xlabel("test (%)", fontsize=8)
    tidy(axes)
