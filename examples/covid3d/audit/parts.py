"""In how many ways a given mask differs from what networks would have drawn."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfftn, next_fast_len, rfftn
from scipy.ndimage import median_filter

from examples.covid3d.audit.drawing import Drawing, Mask
from examples.covid3d.measure.metrics import dice

_REACH = 4
"""Shifts are looked for up to so many voxels along each axis."""

_EPSILON = 1e-3


@dataclass(frozen=True)
class Parts:
    """What is measured of one drawing; NaN where it has no meaning, as on empty masks.

    Attributes:
        agreement: Dice of the given mask and of what the networks would have drawn.
        shift_mm: Distance between the centres of the two.
        volume_ratio: Volume of the given mask in units of the other's.
        roughness: Share of the mask that a median of 3 x 3 x 3 voxels changes, in units of what
            it changes in the networks' drawing: a hand's lines are rougher than a network's.
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
        roughness=roughness(given) / (roughness(expected) + _EPSILON) if both else math.nan,
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


def _distance(a: Mask, b: Mask, spacing: tuple[float, float, float]) -> float:
    apart = np.argwhere(a).mean(0) - np.argwhere(b).mean(0)
    return float(np.linalg.norm(apart * np.asarray(spacing)))


def roughness(mask: Mask) -> float:
    """1 - Dice of a mask and its median over 3 x 3 x 3 voxels; 0 of an empty one."""
    return 1 - dice(median_filter(mask.astype(np.uint8), size=3), mask)


def best_shift(moved: Mask, fixed: Mask) -> tuple[tuple[int, int, int], float]:
    """Finds by how many voxels a mask would have to move to agree best with another.

    Args:
        moved: The mask to move, (X, Y, Z).
        fixed: The other, same shape.

    Returns:
        The shift along each axis, up to four voxels, and the Dice it leads to.
    """
    shape = [next_fast_len(n + 2 * _REACH + 1, real=True) for n in moved.shape]
    product = rfftn(fixed.astype(np.float32), shape) * np.conj(
        rfftn(moved.astype(np.float32), shape)
    )
    overlap: NDArray[np.float32] = irfftn(product, shape)
    steps = np.arange(-_REACH, _REACH + 1)
    window = overlap[np.ix_(steps, steps, steps)]
    x, y, z = np.unravel_index(int(window.argmax()), window.shape)
    total = float(moved.sum() + fixed.sum())
    at = (int(steps[x]), int(steps[y]), int(steps[z]))
    return at, 2 * float(window.max()) / total if total else 1.0
