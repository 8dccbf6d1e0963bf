"""The share of weight on rightly labelled samples, epoch by epoch."""

from __future__ import annotations

from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.trials.plans import TaskPlan
from benchmarks.trials.report.looks import look_of
from benchmarks.trials.report.outcomes import Outcome, Outcomes
from benchmarks.trials.report.panels import line_panels

_EQUAL = ("plain+trusted", "clean", "clean+trusted", "trusted", "folds", "logit-adjustment")
"""Equal weights, which plain shows already, or all of them on the clean, or none."""


def weights_figure(found: Outcomes) -> Figure:
    """Draw a line per row, the mean of its seeds; ``plain`` is the share of the data."""
    return line_panels(found, _draw, "epoch", "weight on clean (%)\nunder imbalance: on rare")


def _draw(axes: Axes, task: TaskPlan, outcome: Outcome) -> bool:
    del task
    if outcome.cell.row in _EQUAL:
        return False
    if outcome.cell.row == "plain":
        return _draw_data(axes, outcome)
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
        markevery=max(1, len(means) // 4),
        **look_of(outcome.cell.row).style(),  # type: ignore[arg-type]
    )
    return True


def _draw_data(axes: Axes, outcome: Outcome) -> bool:
    """Draw what equal weights come to but for the chance of a batch."""
    records = outcome.records.values()
    shares = [r.clean_share if r.rare_share is None else r.rare_share for r in records]
    known = [share for share in shares if share is not None]
    if known:
        axes.axhline(100 * fmean(known), linewidth=1.4, **look_of("plain").style())  # type: ignore[arg-type]
    return bool(known)
