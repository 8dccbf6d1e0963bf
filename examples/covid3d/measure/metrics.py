"""Dice, Hausdorff distances and surface Dice; on empty masks, a rule that makes a miss count."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from examples.covid3d.measure.distances import (
    Spacing,
    normalised_surface_dice,
    surface_distances,
)

TOLERANCE = 3.0
"""Distance up to which two surfaces count as the same, mm: about a voxel of the prepared scans."""


@dataclass(frozen=True)
class Score:
    """How a predicted mask compares with the expert's.

    Attributes:
        dice: Dice coefficient; 1 if both masks are empty.
        hd: Hausdorff distance, mm; 0 if both are empty, the volume's diagonal if one is.
        hd95: The same with the larger of the two directions' 95th percentiles, mm.
        nsd: Normalised surface Dice: the share of both surfaces' voxels within the tolerance of
            the other surface; 1 if both masks are empty, 0 if one is.
        missed: The expert marked a lesion and the prediction is empty.
        false_alarm: The expert marked none and the prediction is not empty.
    """

    dice: float
    hd: float
    hd95: float
    nsd: float
    missed: bool
    false_alarm: bool


def dice(predicted: NDArray[np.generic], true: NDArray[np.generic]) -> float:
    """Dice coefficient of two masks of the same shape; 1 if both are empty."""
    a, b = predicted.astype(bool), true.astype(bool)
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


def compare(
    predicted: NDArray[np.generic],
    true: NDArray[np.generic],
    spacing: Spacing,
    tolerance: float = TOLERANCE,
) -> Score:
    """Compares a predicted mask with the expert's.

    MONAI's Hausdorff distance is NaN where a mask is empty, and its mean skips NaN: to miss a
    lesion altogether would improve it. Here it costs the diagonal of the volume. Where neither
    mask is empty, all four numbers are MONAI's.

    Args:
        predicted: Mask, (X, Y, Z).
        true: The expert's mask, the same shape.
        spacing: Voxel size, mm.
        tolerance: That of the normalised surface Dice, mm.

    Returns:
        The scores.

    Raises:
        ValueError: If the shapes differ, or the tolerance is not a finite number of at least 0.
    """
    if predicted.shape != true.shape:
        raise ValueError(f"predicted {predicted.shape} and true {true.shape} masks differ in shape")
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ValueError(f"tolerance is {tolerance}; it must be finite and at least 0")
    a, b = predicted.astype(bool), true.astype(bool)
    if not a.any() or not b.any():
        agree = not a.any() and not b.any()
        diagonal = math.dist(
            (0.0, 0.0, 0.0), [n * s for n, s in zip(a.shape, spacing, strict=True)]
        )
        worst = 0.0 if agree else diagonal
        return Score(float(agree), worst, worst, float(agree), bool(b.any()), bool(a.any()))
    to_true, to_predicted = surface_distances(a, b, spacing)
    return Score(
        dice(a, b),
        float(max(to_true.max(), to_predicted.max())),
        float(max(np.percentile(to_true, 95), np.percentile(to_predicted, 95))),
        normalised_surface_dice(to_true, to_predicted, tolerance),
        missed=False,
        false_alarm=False,
    )
