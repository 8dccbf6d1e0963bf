"""Figures of the training: loss, Dice on the trusted scans, samples kept, weight against truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from examples.covid3d.common.files import read_csv
from examples.covid3d.measure.report.results import LABELS
from examples.covid3d.measure.report.weights import GOOD, Rows
from support.replacing import replacing

_COLOURS = {"supervised": "#6b7280", "equal": "#d97706", "rgsm-al": "#0f766e", "best": "#be185d"}
_MORE = (
    "#7c3aed", "#2563eb", "#65a30d", "#92400e", "#0891b2", "#db2777", "#4b5563", "#ca8a04",
    "#059669", "#4f46e5", "#dc2626", "#0284c7", "#a21caf", "#84cc16", "#78716c",
)  # fmt: skip
_BY_ORDER = [name for name in LABELS if name not in _COLOURS]


def colour_of(method: str) -> str:
    """A method's colour, the same in every figure."""
    return _COLOURS.get(method) or _MORE[_BY_ORDER.index(method) % len(_MORE)]


def new_figure(width: float, height: float) -> Figure:
    """A figure that needs no display and leaves matplotlib's global state alone."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def _style(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _moving_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean of the last ``width`` values, of fewer at the start."""
    total = np.cumsum(np.insert(values, 0, 0.0))
    end = np.arange(1, len(values) + 1)
    start = np.maximum(0, end - width)
    mean: NDArray[np.float64] = (total[end] - total[start]) / (end - start)
    return mean


def draw_curves(folders: Mapping[str, Path], path: Path) -> None:
    """Draws loss, Dice on the trusted scans and samples kept, against the training step.

    Args:
        folders: Training folder of each row, by method.
        path: PNG to write.
    """
    figure = new_figure(13, 4.6)
    loss, dice, kept = figure.subplots(1, 3)
    for method, folder in folders.items():
        colour, label = colour_of(method), LABELS[method]
        steps, curve = read_csv(folder / "steps.csv"), read_csv(folder / "curve.csv")
        values = np.array([float(row["mean_loss"]) for row in steps])
        loss.plot(_moving_mean(values, 20), color=colour, label=label, linewidth=1.2)
        at, scores = ([float(row[key]) for row in curve] for key in ("step", "dice"))
        dice.plot(at, scores, color=colour, marker="o", markersize=3, linewidth=1.2)
        for key, line in (("kept", "-"), ("effective_sample_size", ":")):
            # Empty in steps that weigh nothing, as in a warm-up.
            weighed = [row for row in steps if row.get(key)]
            if weighed:
                counts = np.array([float(row[key]) for row in weighed])
                x = [int(row["step"]) for row in weighed]
                kept.plot(x, _moving_mean(counts, 20), line, color=colour, linewidth=1.2)
    _style(loss, "Training loss, mean of 20 steps", "step", "mean loss, unweighted")
    _style(dice, "Dice on the trusted scans", "step", "mean Dice")
    _style(kept, "Samples kept (line), effective (dots)", "step", "samples of a batch")
    kept.set_ylim(bottom=0)
    kept.set_visible(bool(kept.lines))
    figure.legend(loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    save(figure, path)


def draw_weights(method: str, samples: Rows, path: Path) -> bool:
    """Draws weights against the true Dice of the pseudo-labelled patches they were given to.

    Args:
        method: The method.
        samples: Rows of ``samples.csv``.
        path: PNG to write.

    Returns:
        Whether there was anything to draw: the truth may be unknown.
    """
    known = [row for row in samples if row["pseudo_dice"] != ""]
    if not known:
        return False
    dice = np.array([float(row["pseudo_dice"]) for row in known])
    weight = np.array([float(row["weight"]) for row in known])
    figure = new_figure(13, 3.8)
    scatter, bars, by_scan = figure.subplots(1, 3)
    jitter = np.random.default_rng(0).normal(0, 0.006, dice.shape)
    scatter.scatter(dice + jitter, weight, s=9, alpha=0.35, color=colour_of(method), linewidths=0)
    edges = np.linspace(0, 1, 6)
    bins = np.clip(np.digitize(dice, edges) - 1, 0, 4)
    means = [weight[bins == b].mean() if (bins == b).any() else 0.0 for b in range(5)]
    counts = [int((bins == b).sum()) for b in range(5)]
    drawn = bars.bar(edges[:-1] + 0.1, means, width=0.17, color=colour_of(method))
    bars.bar_label(drawn, [f"n = {count}" for count in counts], fontsize=8, padding=2)
    steps = {(row["seed"], row["fold"], row["step"]) for row in samples}
    batch = round(len(samples) / max(1, len(steps)))
    bars.axhline(1 / batch, color="black", linestyle="--", linewidth=1, label="equal weight")
    bars.legend(frameon=False, fontsize=9)
    bars.margins(y=0.15)
    names = sorted({row["scan"] for row in known})
    of_scan = np.array([row["scan"] for row in known])
    for name in names:
        own = of_scan == name
        by_scan.scatter(dice[own].mean(), weight[own].mean(), color=colour_of(method), s=24)
    by_scan.axhline(1 / batch, color="black", linestyle="--", linewidth=1)
    by_scan.set_ylim(bottom=0)
    by_scan.set_xlim(-0.03, 1.03)
    by_scan.axvline(GOOD, color="black", linestyle=":", linewidth=1, label=f"Dice {GOOD}")
    by_scan.legend(frameon=False, fontsize=9)
    name = LABELS[method]
    truth = "true Dice of the pseudo-label, patch"
    _style(scatter, f"{name}: every sample of every step", truth, "weight")
    _style(bars, "Mean weight by pseudo-label quality", truth, "mean weight")
    _style(
        by_scan, "Mean over the patches of a scan", "mean true Dice of its patches", "mean weight"
    )
    save(figure, path)
    return True
