"""In how many ways a given mask differs from what networks would have drawn."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfftn, next_fast_len, rfftn
from scipy.ndimage import binary_dilation, binary_erosion, median_filter

from examples.covid3d.audit.drawing import Drawing, Mask
from examples.covid3d.measure.metrics import dice

_REACH = 4
"""Shifts are looked for up to so many voxels along each axis."""


@dataclass(frozen=True)
class Parts:
    """What is measured of one drawing; NaN where it has no meaning, as on empty masks.

    Attributes:
        agreement: Dice of the given mask and of what the networks would have drawn.
        shift_mm: How far the given mask would have to move to agree best. It goes by edges, where
            the distance of the centres would go by the length of a thin end.
        volume_ratio: Volume of the given mask in units of the other's.
        roughness: Share of the voxels on both sides of the mask's surface that a median of
            3 x 3 x 3 voxels changes: a hand's lines are rougher than a network's.
        memory: As in :class:`Drawing`.
        loss: As in :class:`Drawing`.
    """

    agreement: float
    shift_mm: float
    volume_ratio: float
    roughness: float
    memory: float
    loss: float

    def to_row(self) -> dict[str, float]:
        """The parts by name."""
        return asdict(self)


def measure(drawing: Drawing) -> Parts:
    """Measures a drawing."""
    given, expected = cropped(drawing)
    both = bool(given.any() and expected.any())
    return Parts(
        agreement=dice(given, expected),
        shift_mm=_distance(given, expected, drawing.spacing) if both else math.nan,
        volume_ratio=given.sum() / expected.sum() if both else math.nan,
        roughness=roughness(given) if given.any() else math.nan,
        memory=drawing.memory,
        loss=drawing.loss,
    )


def cropped(drawing: Drawing) -> tuple[Mask, Mask]:
    """The two masks in the smallest box that holds both, and some room for shifts."""
    given, expected = drawing.mask, drawing.expected
    either = np.argwhere(given | expected)
    if len(either) == 0:
        return given, expected
    box = tuple(
        slice(max(0, int(low) - _REACH), int(high) + 1 + _REACH)
        for low, high in zip(either.min(0), either.max(0), strict=True)
    )
    return given[box], expected[box]


def _distance(given: Mask, expected: Mask, spacing: tuple[float, float, float]) -> float:
    overlap = _overlaps(given, expected)
    at = [int(step) for step in np.unravel_index(int(overlap.argmax()), overlap.shape)]
    moved = []
    for axis, step in enumerate(at):
        others = tuple(at[:axis] + at[axis + 1 :])
        moved.append(step - _REACH + _vertex(np.moveaxis(overlap, axis, -1)[others], step))
    return float(np.linalg.norm(np.asarray(moved) * np.asarray(spacing)))


def _vertex(values: NDArray[np.float32], top: int) -> float:
    """Where between its neighbours the parabola through the largest of some values has its top."""
    if not 0 < top < len(values) - 1:
        return 0.0
    before, here, after = (float(value) for value in values[top - 1 : top + 2])
    bend = before - 2 * here + after
    return float(np.clip((before - after) / (2 * bend), -0.5, 0.5)) if bend < 0 else 0.0


def _overlaps(moved: Mask, fixed: Mask) -> NDArray[np.float32]:
    """Voxels that two masks share, for every shift of the first up to the reach."""
    shape = [next_fast_len(n + 2 * _REACH + 1, real=True) for n in moved.shape]
    product = rfftn(fixed.astype(np.float32), shape) * np.conj(
        rfftn(moved.astype(np.float32), shape)
    )
    overlap: NDArray[np.float32] = irfftn(product, shape)
    steps = np.arange(-_REACH, _REACH + 1)
    return overlap[np.ix_(steps, steps, steps)]


def roughness(mask: Mask) -> float:
    """Share of a mask's surface, the voxels on both its sides, that a median filter changes."""
    changed = (median_filter(mask.astype(np.uint8), size=3) > 0) ^ mask
    surface = binary_dilation(mask) & ~binary_erosion(mask)
    return float(changed.sum() / max(1, surface.sum()))


def best_shift(moved: Mask, fixed: Mask) -> tuple[tuple[int, int, int], float]:
    """Finds by how many voxels a mask would have to move to agree best with another.

    Args:
        moved: The mask to move, (X, Y, Z).
        fixed: The other, same shape.

    Returns:
        The shift along each axis, up to four voxels, and the Dice it leads to.
    """
    overlap = _overlaps(moved, fixed)
    x, y, z = np.unravel_index(int(overlap.argmax()), overlap.shape)
    total = float(moved.sum() + fixed.sum())
    at = (int(x) - _REACH, int(y) - _REACH, int(z) - _REACH)
    return at, 2 * float(overlap.max()) / total if total else 1.0
