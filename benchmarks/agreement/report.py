"""The correlations as a table and as a plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, quantiles

import numpy as np
from matplotlib.figure import Figure

Correlations = Mapping[str, Sequence[float]]
_PARTS = 3
_STYLES = {
    "another trusted batch": ("#666666", "--"),
    "half the trusted batch": ("#CC79A7", "-"),
    "finite difference": ("#009E73", "-"),
    "last quarter of the layers": ("#E69F00", "-"),
    "renewed every 4th, averaged": ("#56B4E9", "-"),
    "fast: renewed as it changes, difference": ("#D55E00", "-"),
}


def table(found: Correlations) -> str:
    """Return Markdown: the mean over all comparisons, its quartiles, and the mean of each third."""
    rows = [
        "| scores by | mean rank correlation | quartiles | first third | second | last |",
        "|---|---|---|---|---|---|",
    ]
    for name, values in found.items():
        known = [value for value in values if not math.isnan(value)]
        if not known:
            rows.append(f"| {name} | none | | | | |")
            continue
        low, _, high = quantiles(known, n=4, method="inclusive") if len(known) > 1 else known * 3
        thirds = [_mean(list(part)) for part in np.array_split(np.array(values), _PARTS)]
        rows.append(
            f"| {name} | {fmean(known):.2f} | {low:.2f} to {high:.2f} | "
            + " | ".join(thirds)
            + " |"
        )
    return "\n".join(rows)


def _mean(values: list[float]) -> str:
    known = [value for value in values if not math.isnan(value)]
    return f"{fmean(known):.2f}" if known else ""


def plot(found: Correlations, every: int, title: str) -> Figure:
    """Draw running means over the training for what a reader would choose between.

    Args:
        found: The correlations.
        every: Steps from one to the next.
        title: What was trained.
    """
    figure = Figure(figsize=(8.5, 4.6), layout="constrained")
    axes = figure.subplots()
    for name, (colour, line) in _STYLES.items():
        values = np.array(found[name], dtype=float)
        width = max(1, len(values) // 8)
        steps = every * np.arange(len(values))
        known = ~np.isnan(values)
        total, count = np.cumsum(np.where(known, values, 0)), np.cumsum(known)
        total[width:], count[width:] = (
            total[width:] - total[:-width],
            count[width:] - count[:-width],
        )
        axes.plot(steps, total / np.maximum(count, 1), line, color=colour, label=name)
    axes.axhline(0.8, color="black", linewidth=0.8, linestyle=":")
    axes.set(xlabel="training step", ylabel="Spearman's ρ with the exact scores", ylim=(-0.1, 1.02))
    axes.set_title(title, fontsize=8, wrap=True)
    axes.legend(fontsize=8, frameon=False, loc="lower left", ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    return figure
