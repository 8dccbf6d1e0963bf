"""Test accuracy by noise, method and trusted size, a dot per seed."""

from __future__ import annotations

from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.label_noise.report.looks import BLUE, GREY, ORANGE, tidy
from benchmarks.label_noise.report.outcomes import Outcomes
from benchmarks.label_noise.settings import Plan

_COLUMNS = 3
_SIZE_COLOURS = (BLUE, ORANGE)
_SPREAD = 0.18  # how far the trusted sizes lie above and below a method's line


def accuracy_figure(found: Outcomes, plan: Plan) -> Figure:
    """Draw a panel per noise, a line of dots per method."""
    columns = min(_COLUMNS, len(plan.noises))
    rows = -(-len(plan.noises) // columns)
    height = rows * (0.9 + 0.25 * len(plan.methods)) + 0.5
    figure = Figure(figsize=(3.6 * columns + 1.2, height), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    panels = list(grid.flat)
    for axes, noise in zip(panels, plan.noises, strict=False):
        _panel(axes, found, plan, noise)
    for axes in panels[len(plan.noises) :]:
        axes.set_visible(False)
    labels = {size: _colour(plan, size) for size in plan.trusted}
    marks = [
        Line2D([], [], linestyle="", marker="o", color=colour, label=f"{size} trusted images")
        for size, colour in labels.items()
    ]
    marks.append(
        Line2D([], [], linestyle="", marker="o", color=GREY, label="no trusted images needed")
    )
    marks.append(Line2D([], [], linestyle="", marker="|", color="black", label="mean of the seeds"))
    figure.legend(handles=marks, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _panel(axes: Axes, found: Outcomes, plan: Plan, noise: str) -> None:
    places = {method: place for place, method in enumerate(plan.methods)}
    for cell, outcome in found.items():
        if cell.noise != noise or not outcome.records:
            continue
        accuracies = [100 * record.test for record in outcome.records.values()]
        place = float(places[cell.method]) + _offset(plan, cell.trusted)
        colour = _colour(plan, cell.trusted)
        heights = [place] * len(accuracies)
        axes.plot(accuracies, heights, "o", color=colour, markersize=4, alpha=0.6, mew=0)
        axes.plot(fmean(accuracies), place, "|", color="black", markersize=9, mew=1.6)
    axes.set_yticks(list(places.values()), list(places))
    axes.set_ylim(len(places) - 0.5, -0.5)
    axes.set_title(noise, fontsize=10)
    axes.set_xlabel("test accuracy (%)", fontsize=8)
    tidy(axes)


def _offset(plan: Plan, size: int | None) -> float:
    if size is None or len(plan.trusted) == 1:
        return 0.0
    return _SPREAD * (2 * plan.trusted.index(size) / (len(plan.trusted) - 1) - 1)


def _colour(plan: Plan, size: int | None) -> str:
    return GREY if size is None else _SIZE_COLOURS[plan.trusted.index(size) % len(_SIZE_COLOURS)]
