"""Panels of lines: a column per noise, a row per trusted size."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.label_noise.report.looks import add_legend, tidy
from benchmarks.label_noise.report.outcomes import Outcome, Outcomes, row
from benchmarks.label_noise.settings import Plan

Draw = Callable[[Axes, Outcome], bool]


def line_panels(found: Outcomes, plan: Plan, draw: Draw, x_label: str, y_label: str) -> Figure:
    """Draw the outcomes of each noise and size on axes of their own, with one legend for all.

    Args:
        found: The outcomes.
        plan: Which noises, sizes and methods.
        draw: Draws one outcome, and returns whether there was anything to draw.
        x_label: What the horizontal axis shows, with its unit.
        y_label: What the vertical axis shows, with its unit.
    """
    sizes, noises = plan.trusted, plan.noises
    figure = Figure(
        figsize=(max(5.5, 2.9 * len(noises)), 2.7 * len(sizes) + 0.9), layout="constrained"
    )
    grid = figure.subplots(len(sizes), len(noises), squeeze=False, sharex=True)
    drawn: set[str] = set()
    for line, size in enumerate(sizes):
        for column, noise in enumerate(noises):
            axes = grid[line, column]
            drawn |= {o.cell.method for o in _outcomes(found, plan, noise, size) if draw(axes, o)}
            axes.set_title(f"{noise}, {size} trusted", fontsize=9)
            tidy(axes)
        grid[line, 0].set_ylabel(y_label, fontsize=8)
    for axes in grid[-1]:
        axes.set_xlabel(x_label, fontsize=8)
    add_legend(
        figure,
        [method for method in plan.methods if method in drawn],
        columns=min(7, max(3, 2 * len(noises))),
    )
    return figure


def _outcomes(found: Outcomes, plan: Plan, noise: str, size: int) -> Iterator[Outcome]:
    for method in plan.methods:
        outcome = row(found, noise, size, method)
        if outcome is not None:
            yield outcome
