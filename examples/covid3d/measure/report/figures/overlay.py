"""The overlay figure: what the expert marked and what each network found, on axial slices."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from examples.covid3d.common.config import Config
from examples.covid3d.measure.metrics import dice
from examples.covid3d.measure.report.cases.volumes import (
    axial,
    canonical,
    expert_mask,
    for_the_eye,
    turned,
)
from examples.covid3d.measure.report.figures.curves import new_figure, save
from examples.covid3d.measure.report.results import LABELS
from examples.covid3d.scans.readers.scan import Scan
from examples.covid3d.scans.volumes import grid_of, load_scan

TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE, EXPERT = "#22c55e", "#3b82f6", "#facc15", "#ef4444"
_MOST_SCANS = 6

Slice = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class _Column:
    """One test scan at one axial slice; arrays (rows, columns) as a radiologist sees them."""

    name: str
    image: NDArray[np.float32]
    expert: Slice
    predicted: dict[str, Slice]
    volume_dice: dict[str, float]
    aspect: float


def _chosen(sources: Sequence[Scan], config: Config) -> list[Scan]:
    """Those with a lesion first, in the order given; at most six, one without among them."""
    with_lesion: list[Scan] = []
    without: list[Scan] = []
    for source in sources:
        lesion = expert_mask(source, grid_of(source), config).any()
        (with_lesion if lesion else without).append(source)
    if len(sources) <= _MOST_SCANS:
        return with_lesion + without
    return (with_lesion + without)[: _MOST_SCANS - len(without[:1])] + without[:1]


def _column(source: Scan, folders: dict[str, Path], config: Config) -> _Column:
    raw, grid = load_scan(source)
    volume, zooms = turned(raw, grid)
    image = for_the_eye(volume, config)
    expert = turned(expert_mask(source, grid, config), grid)[0]
    predicted = {
        method: canonical(folder / f"{source.name}.nii.gz").astype(np.uint8)
        for method, folder in folders.items()
    }
    # The slice with most lesion; where there is none, the one most wrongly marked.
    area = expert.sum((0, 1)) if expert.any() else sum(p.sum((0, 1)) for p in predicted.values())
    k = int(np.argmax(area)) if np.any(area) else expert.shape[2] // 2
    return _Column(
        source.name,
        axial(image, k),
        axial(expert, k),
        {method: axial(volume, k) for method, volume in predicted.items()},
        {method: dice(volume, expert) for method, volume in predicted.items()},
        zooms[1] / zooms[0],
    )


def _outline(axes: Axes, mask: NDArray[np.bool_], colour: str) -> None:
    if mask.any():
        # Padded, or an outline would stay open where the mask meets the picture's edge.
        padded = np.pad(mask.astype(float), 1)
        rows, columns = (np.arange(-1, n + 1) for n in mask.shape)
        axes.contour(columns, rows, padded, levels=[0.5], colors=[colour], linewidths=1.1)


def _fill(axes: Axes, mask: NDArray[np.bool_], colour: str, aspect: float) -> None:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    layer = np.zeros((*mask.shape, 4), dtype=np.float32)
    layer[mask] = (red, green, blue, 0.75)
    axes.imshow(layer, aspect=aspect, interpolation="nearest")


def draw_overlay(
    sources: Sequence[Scan],
    folders: dict[str, Path],
    config: Config,
    path: Path,
) -> None:
    """Draws test scans as columns; the scan, the expert and each network as rows.

    Scans with a lesion come first, and at most six are shown, in the order given: none is picked
    for how it looks.

    Args:
        sources: Test scans.
        folders: Predictions of each row, by method.
        config: For the intensity window and the foreground labels.
        path: PNG to write.
    """
    columns = [_column(source, folders, config) for source in _chosen(sources, config)]
    titles = ["Scan", "Expert", *(LABELS[method] for method in folders)]
    figure = new_figure(2.3 * len(columns) + 1.5, 1.95 * len(titles) + 0.9)
    grid = figure.subplots(len(titles), len(columns), squeeze=False)
    for j, column in enumerate(columns):
        for i, axes in enumerate(grid[:, j]):
            axes.imshow(column.image, cmap="gray", vmin=0, vmax=1, aspect=column.aspect)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            if j == 0:
                name = textwrap.fill(titles[i], 15)
                axes.set_ylabel(name, fontsize=10, rotation=0, ha="right", va="center")
            if i == 0:
                axes.set_title(textwrap.fill(column.name, 26), fontsize=9)
        true = column.expert.astype(bool)
        _outline(grid[1, j], true, EXPERT)
        if not true.any():
            grid[1, j].set_xlabel("no lesion", fontsize=8)
        for axes, method in zip(grid[2:, j], folders, strict=True):
            found = column.predicted[method].astype(bool)
            _fill(axes, found & ~true, FALSE_POSITIVE, column.aspect)
            _fill(axes, true & ~found, FALSE_NEGATIVE, column.aspect)
            _outline(axes, found & true, TRUE_POSITIVE)
            axes.set_xlabel(f"Dice of the scan {column.volume_dice[method]:.2f}", fontsize=8)
    legend = [
        Line2D([], [], color=EXPERT, label="expert's outline"),
        Line2D([], [], color=TRUE_POSITIVE, label="true positive"),
        Patch(color=FALSE_POSITIVE, label="false positive"),
        Patch(color=FALSE_NEGATIVE, label="false negative (missed)"),
    ]
    figure.legend(handles=legend, loc="outside lower center", ncols=4, frameon=False, fontsize=10)
    save(figure, path)
