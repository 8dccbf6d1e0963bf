"""Pictures of a scan's most doubtful slices: the given mask, the model's, and what is in doubt."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from examples.covid3d.measure.report.cases.volumes import axial

GIVEN, MODEL, DOUBT = (255, 183, 3), (76, 201, 240), (230, 57, 130)
"""Colours that differ in lightness too, and that grey tissue has not."""

SLICES = 3
_SIDE = 300
_GAP = 6
_MOST_SHOWN = 128
_MARGIN = 0.3
_SHADE = 0.5
_DASH = 5
_QUALITY = 78

Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Picture:
    """A picture for a page.

    Attributes:
        jpeg: The file's bytes.
        width: Pixels.
        height: Pixels.
        alternative: What it shows, in words.
    """

    jpeg: bytes
    width: int
    height: int
    alternative: str

    @property
    def address(self) -> str:
        """The picture as a ``data:`` address."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode('ascii')}"


def worst_slices(doubt: Mask, shown: Mask, count: int = SLICES) -> list[int]:
    """Axial slices with the most voxels in doubt, apart from each other; in the order they lie.

    Args:
        doubt: Voxels in doubt, (X, Y, Z).
        shown: Voxels of either mask; where fewer slices are in doubt, those with most of these.
        count: How many, at most.

    Returns:
        Indices, at least one.
    """
    depth = doubt.shape[2]
    # Either mask counts so little that it decides among slices without doubt only.
    score = doubt.sum((0, 1)) + shown.sum((0, 1)) / (shown.sum() + 1.0)
    apart = max(1, int((score > 0).sum()) // (2 * count))
    chosen: list[int] = []
    for k in np.argsort(-score, kind="stable"):
        if len(chosen) < min(count, depth) and all(
            abs(int(k) - other) >= apart for other in chosen
        ):
            chosen.append(int(k))
    chosen = [k for k in chosen if score[k] > 0] or [depth // 2]
    return sorted(chosen)


def draw(
    name: str,
    image: Volume,
    given: Mask,
    model: Mask,
    spacing: Sequence[float],
    doubt: Mask | None = None,
    count: int = SLICES,
) -> Picture:
    """Draws a scan's worst slices beside each other, front up, the patient's right on the left.

    Args:
        name: Named in the alternative text.
        image: Prepared intensities, (X, Y, Z), RAS+.
        given: The mask in question.
        model: The model's.
        spacing: Voxel size, mm.
        doubt: Voxels in doubt; those where the two differ, by default.
        count: How many slices, at most.
    """
    doubt = given ^ model if doubt is None else doubt
    slices = worst_slices(doubt, given | model, count)
    window = _window(given | model, image.shape)
    x, y = window
    low, high = (float(v) for v in np.percentile(image[x, y], (1, 99.5)))
    panels = []
    for k in slices:
        seen = [axial(volume[x, y], k) for volume in (image, given, model, doubt)]
        panels.append(_panel(seen, spacing[1] / spacing[0], low, high))
    gap = np.zeros((panels[0].shape[0], _GAP, 3), np.uint8)
    row = np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=1)
    stream = io.BytesIO()
    # Without subsampling, which would smear thin coloured lines.
    Image.fromarray(row).save(stream, "JPEG", quality=_QUALITY, subsampling=0, optimize=True)
    words = (
        f"{name}, axial slice{'s' if len(slices) > 1 else ''} "
        f"{', '.join(str(k + 1) for k in slices)} of {image.shape[2]}: given mask "
        f"{int(given.sum()):,} voxels, the model's {int(model.sum()):,}, in doubt "
        f"{int(doubt.sum()):,}"
    )
    return Picture(stream.getvalue(), row.shape[1], row.shape[0], words)


def _window(shown: Mask, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The part of a large plane around both masks; a small one as a whole."""
    windows = []
    for axis, other in ((0, 1), (1, 0)):
        side = shape[axis]
        found = np.flatnonzero(shown.any((other, 2)))
        if side <= _MOST_SHOWN or not found.size:
            windows.append(slice(0, side))
            continue
        middle = (int(found[0]) + int(found[-1]) + 1) // 2
        width = int((found[-1] - found[0] + 1) * (1 + 2 * _MARGIN))
        width = min(side, max(width, _MOST_SHOWN // 2))
        first = int(np.clip(middle - width // 2, 0, side - width))
        windows.append(slice(first, first + width))
    return windows[0], windows[1]


def _panel(
    seen: Sequence[NDArray[np.generic]],
    aspect: float,
    low: float,
    high: float,
) -> NDArray[np.uint8]:
    image, given, model, doubt = seen
    height, width = image.shape[0] * aspect, float(image.shape[1])
    scale = _SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    grey = np.clip((image.astype(np.float64) - low) / max(high - low, 1e-6), 0, 1) * 255
    smooth = Image.fromarray(grey.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    shown = np.repeat(np.asarray(smooth, dtype=np.float64)[..., None], 3, axis=2)
    shaded = _enlarged(doubt, size)
    shown[shaded] = (1 - _SHADE) * shown[shaded] + _SHADE * np.asarray(DOUBT)
    rows, columns = np.indices(shown.shape[:2])
    dashes = (rows + columns) // _DASH % 2 == 0
    shown[_outline(_enlarged(given, size))] = GIVEN
    shown[_outline(_enlarged(model, size)) & dashes] = MODEL
    return shown.astype(np.uint8)


def _enlarged(mask: NDArray[np.generic], size: tuple[int, int]) -> Mask:
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(picture.resize(size, Image.Resampling.NEAREST)) > 127


def _outline(mask: Mask) -> Mask:
    """The inner edge of a mask, two pixels wide."""
    edge: Mask = mask & ~ndimage.binary_erosion(mask, iterations=2)
    return edge
