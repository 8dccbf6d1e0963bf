"""Figures of the training: loss, Dice on the trusted scans, samples kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

from examples.covid3d.common.files import read_csv
from examples.covid3d.measure.report.results import LABELS
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
    """Writes a figure as PNG, every text as it is: a name with two ``$`` is no formula."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
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
