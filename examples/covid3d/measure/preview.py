"""A picture of a scan and its predicted mask, to look through before a table is believed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from examples.covid3d.common.config import Config
from examples.covid3d.measure.report.cases.volumes import axial, for_the_eye, turned
from examples.covid3d.scans.geometry import Grid
from support.replacing import replacing

_OUTLINE = "#ef4444"
_INCHES = 4.2


def draw_preview(
    volume: NDArray[np.float32],
    mask: NDArray[np.uint8],
    grid: Grid,
    config: Config,
    title: str,
    path: Path,
) -> None:
    """Draws the axial slice with most of the mask, without and with its outline.

    Where the mask is empty it is the middle slice, and the picture says so.

    Args:
        volume: The scan on its own grid, (X, Y, Z).
        mask: Labels 0 or 1 there.
        grid: That grid.
        config: For the intensity window.
        title: Printed as it is, above the picture.
        path: PNG to write.
    """
    image, zooms = turned(volume, grid)
    marked, _ = turned(mask, grid)
    area = marked.sum((0, 1))
    k = int(np.argmax(area)) if area.any() else marked.shape[2] // 2
    plain, outlined = axial(for_the_eye(image, config), k), axial(marked, k)
    height, width = plain.shape[0] * zooms[1], plain.shape[1] * zooms[0]
    figure = Figure((2 * _INCHES, _INCHES * min(2.0, max(0.4, height / width)) + 0.7), dpi=110)
    FigureCanvasAgg(figure)
    for number, axes in enumerate(figure.subplots(1, 2)):
        axes.imshow(plain, cmap="gray", vmin=0, vmax=1, aspect=zooms[1] / zooms[0])
        axes.set_axis_off()
        axes.autoscale(False)
        if number and outlined.any():
            # Padded, or an outline would stay open where the mask meets the picture's edge.
            padded = np.pad(outlined.astype(float), 1)
            rows, columns = (np.arange(-1, n + 1) for n in outlined.shape)
            axes.contour(columns, rows, padded, levels=[0.5], colors=[_OUTLINE], linewidths=1.2)
    where = f"axial slice {k + 1} of {marked.shape[2]}, from the feet"
    found = "the one with most of it" if area.any() else "nothing was found"
    # Names are other people's: a dollar sign in one is no formula.
    figure.suptitle(f"{title}\n{where}: {found}", fontsize=10, parse_math=False)
    figure.subplots_adjust(0.01, 0.01, 0.99, 1 - 0.55 / figure.get_figheight(), 0.02)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
