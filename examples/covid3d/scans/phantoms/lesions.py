"""Pneumonia: ground-glass opacity and consolidation; and what only looks like it."""

from __future__ import annotations

import numpy as np

from examples.covid3d.scans.phantoms.anatomy import Chest
from examples.covid3d.scans.phantoms.fields import Canvas, Mask, Volume, blur, smooth_noise


def _seat(rng: np.random.Generator, canvas: Canvas, lungs: Mask) -> tuple[float, float, float]:
    """A point in the lung, mostly peripheral, posterior and basal, as COVID-19 has it."""
    inside = np.argwhere(lungs)
    inside = inside[rng.integers(len(inside), size=400)]
    x = canvas.x.ravel()[inside[:, 0]]
    y = canvas.y.ravel()[inside[:, 1]]
    z = canvas.z.ravel()[inside[:, 2]]
    preference = np.exp(np.abs(x) / 45 - y / 60 - z / 90)
    pick = rng.choice(len(inside), p=preference / preference.sum())
    return float(x[pick]), float(y[pick]), float(z[pick])


def add_lesions(
    rng: np.random.Generator, canvas: Canvas, chest: Chest, count: int, faintness: float
) -> tuple[Volume, Mask]:
    """Adds lesions to a chest.

    Args:
        rng: The patient's random stream.
        canvas: Coordinates.
        chest: A healthy chest, left as it is.
        count: Number of lesions, 0 for a patient without disease.
        faintness: 0 to 1; ground glass of 1 is barely denser than lung.

    Returns:
        HU with the lesions, and the voxels an expert would mark, vessels in a lesion included.
    """
    hu = chest.hu.copy()
    mask = np.zeros(canvas.shape, dtype=bool)
    for _ in range(count):
        x, y, z = _seat(rng, canvas, chest.lungs)
        radius = rng.uniform(18, 38)
        stretch = rng.uniform(0.7, 1.3, 3)
        reach = np.sqrt(
            ((canvas.x - x) / stretch[0]) ** 2
            + ((canvas.y - y) / stretch[1]) ** 2
            + ((canvas.z - z) / stretch[2]) ** 2
        )
        shape = 1 - reach / radius + 0.22 * smooth_noise(rng, canvas, 11)
        inside = (shape > 0) & chest.lungs
        mask |= inside
        density = rng.uniform(-560, -400) - 170 * faintness + 45 * smooth_noise(rng, canvas, 6)
        alpha = np.clip(shape / 0.3, 0.25, 1) * inside
        hu = np.where(inside, np.maximum(hu, hu * (1 - alpha) + density * alpha), hu)
        if rng.random() < 0.45 * (1 - 0.5 * faintness):
            core = (shape > rng.uniform(0.25, 0.5)) & chest.lungs
            hu[core] = (10 + 25 * smooth_noise(rng, canvas, 6))[core]
    return hu.astype(np.float32), mask


def add_atelectasis(rng: np.random.Generator, canvas: Canvas, chest: Chest) -> Chest:
    """Adds dependent atelectasis, a dense band along the back of the lung that is no lesion.

    Args:
        rng: The patient's random stream.
        canvas: Coordinates.
        chest: A healthy chest, left as it is.

    Returns:
        The chest with the band; its lungs are unchanged.
    """
    thickness = rng.uniform(7, 14)
    shift = max(1, round(thickness / canvas.spacing))
    # Lung whose neighbour `thickness` further back is not lung.
    behind = np.zeros_like(chest.lungs)
    behind[:, shift:] = chest.lungs[:, :-shift]
    band = (chest.lungs & ~behind & (canvas.y < -15) & (canvas.z < 45)).astype(np.float32)
    alpha = blur(band, 0.8) * np.clip(0.75 + 0.35 * smooth_noise(rng, canvas, 25), 0, 1)
    density = rng.uniform(-560, -380)
    hu = np.where(
        chest.lungs, np.maximum(chest.hu, chest.hu * (1 - alpha) + density * alpha), chest.hu
    )
    return Chest(hu.astype(np.float32), chest.lungs)
