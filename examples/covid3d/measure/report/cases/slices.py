"""A scan's slices as one small picture, with the outlines of its masks as paths."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from examples.covid3d.measure.report.cases.outlines import outline
from examples.covid3d.measure.report.cases.volumes import axial

_MOST_SLICES = 32
_LONGEST_SIDE = 176
_MARGIN_MM = 25.0
_LEAST_MM = 120.0

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Slices:
    """What the viewer scrolls through.

    Attributes:
        sprite: All slices in one WebP, row by row, as base64.
        columns: Slices in a row of it.
        width: Of a slice, pixels.
        height: Of a slice.
        numbers: Which slice of the scan each is, counted from 1 at the feet.
        of: How many the scan has.
        start: Index of the slice with most of the first mask.
        paths: For each mask, an outline for each slice.
    """

    sprite: str
    columns: int
    width: int
    height: int
    numbers: tuple[int, ...]
    of: int
    start: int
    paths: tuple[tuple[str, ...], ...]


def cut_slices(
    image: NDArray[np.float32], masks: Sequence[Mask], spacing: tuple[float, float, float]
) -> Slices:
    """Cuts out what the masks are about, in slices as a radiologist sees them.

    Args:
        image: (X, Y, Z), RAS+, intensities 0 to 1.
        masks: Masks on the same grid, the expert's first.
        spacing: Voxel size, mm.

    Returns:
        At most 32 slices, evenly spaced over those with a mask and a few beside; in plane cut to
        the masks with a margin, at most 176 pixels a side.
    """
    any_mask = np.logical_or.reduce(masks)
    x, y = (_window(any_mask, axis, spacing[axis], image.shape[axis]) for axis in (0, 1))
    shown = _levels(any_mask)
    area = masks[0].sum((0, 1)) if masks[0].any() else any_mask.sum((0, 1))
    start = int(np.argmax(area[shown]))
    extent = (x.stop - x.start) * spacing[0], (y.stop - y.start) * spacing[1]
    # No finer than the scan itself: what is drawn larger is drawn larger by the browser.
    finest = min(spacing[:2])
    pixel = max(finest, max(extent) / _LONGEST_SIDE)
    size = tuple(max(1, round(length / pixel)) for length in extent)
    width, height = size
    columns = math.ceil(math.sqrt(len(shown)))
    sprite = Image.new("L", (columns * width, math.ceil(len(shown) / columns) * height))
    for index, k in enumerate(shown):
        grey = (axial(image[x, y], k) * 255).round().astype(np.uint8)
        tile = Image.fromarray(grey).resize((width, height), Image.Resampling.BOX)
        sprite.paste(tile, (index % columns * width, index // columns * height))
    packed = io.BytesIO()
    sprite.save(packed, "WEBP", quality=72, method=4)
    paths = tuple(
        tuple(outline(_reduced(axial(mask[x, y], k), width, height)) for k in shown)
        for mask in masks
    )
    return Slices(
        base64.b64encode(packed.getvalue()).decode("ascii"),
        columns,
        width,
        height,
        tuple(int(k) + 1 for k in shown),
        image.shape[2],
        start,
        paths,
    )


def _window(mask: Mask, axis: int, spacing: float, length: int) -> slice:
    """Where the mask is along an axis, with a margin; all of it if it is nowhere."""
    others = tuple(i for i in range(3) if i != axis)
    found = np.flatnonzero(mask.any(others))
    if not len(found):
        return slice(0, length)
    middle = (found[0] + found[-1] + 1) / 2
    half = max((found[-1] + 1 - found[0]) / 2 + _MARGIN_MM / spacing, _LEAST_MM / 2 / spacing)
    return slice(max(0, math.floor(middle - half)), min(length, math.ceil(middle + half)))


def _levels(mask: Mask) -> NDArray[np.int64]:
    """Slices to show: those with a mask and two on either side, thinned out evenly."""
    found = np.flatnonzero(mask.any((0, 1)))
    last = mask.shape[2] - 1
    low, high = (max(0, found[0] - 2), min(last, found[-1] + 2)) if len(found) else (0, last)
    count = min(high - low + 1, _MOST_SLICES)
    return np.unique(np.linspace(low, high, count).round().astype(int))


def _reduced(mask: Mask, width: int, height: int) -> Mask:
    """The mask in the picture's pixels: where at least half of a pixel is marked."""
    if mask.shape == (height, width) or not mask.any():
        return mask if mask.any() else np.zeros((height, width), bool)
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(grey.resize((width, height), Image.Resampling.BOX)) >= 128
