"""A healthy chest: body wall, bones, mediastinum, lungs with vessels and airways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from examples.covid3d.scans.phantoms.fields import Canvas, Mask, Volume, paint_tube, smooth_noise

AIR, FAT, MUSCLE, BLOOD, HEART = -1000.0, -90.0, 50.0, 40.0, 45.0


@dataclass(frozen=True)
class Chest:
    """A chest before disease.

    Attributes:
        hu: Hounsfield units, (X, Y, Z).
        lungs: Lung parenchyma with the vessels and airways inside it.
    """

    hu: Volume
    lungs: Mask


def _power(canvas: Canvas, a: float, b: float, exponent: float) -> Volume:
    level: Volume = np.abs(canvas.x / a) ** exponent + np.abs(canvas.y / b) ** exponent
    return level


def _draw_wall(rng: np.random.Generator, canvas: Canvas, size: float) -> Volume:
    """Air, a ring of fat, muscle, spine and ribs."""
    a, b = 146 * size * rng.uniform(0.95, 1.05), 104 * size * rng.uniform(0.95, 1.05)
    depth = 1 - _power(canvas, a, b, 2.4) + 0 * canvas.z
    hu = np.full(canvas.shape, AIR, dtype=np.float32)
    hu[depth > 0] = FAT
    hu[depth > rng.uniform(0.12, 0.25)] = MUSCLE
    # The table the patient lies on.
    table = np.abs(canvas.y + b + 8 - (canvas.x / 60) ** 2) < 3
    hu[np.broadcast_to(table & (np.abs(canvas.x) < 120), canvas.shape)] = -300
    cage = _power(canvas, 120 * size, 84 * size, 2.3)
    slope = canvas.z + 0.35 * canvas.y
    ribs = (np.abs(cage - 1) < 0.09) & (np.sin(2 * np.pi * slope / 28) > 0.45)
    hu[ribs] = 320
    spine = np.hypot(canvas.x, canvas.y + 70 * size) + 0 * canvas.z
    hu[spine < 19] = 380
    hu[spine < 15] = 190
    return hu


def _lung_mask(rng: np.random.Generator, canvas: Canvas, size: float) -> tuple[Mask, Mask]:
    """The lungs, and the heart that dents the left one."""
    top = rng.uniform(82, 94) * size
    bottom = -rng.uniform(72, 88) * size
    taper = np.clip((top - canvas.z) / (70 * size), 0, 1) ** 0.45
    bumps = 0.03 * smooth_noise(rng, canvas, 45)
    lungs = np.zeros(canvas.shape, dtype=bool)
    for side in (-1, 1):
        level = (
            np.abs((canvas.x - side * 62 * size) / (50 * size * taper + 1e-3)) ** 2.3
            + np.abs((canvas.y + 2) / (76 * size * taper + 1e-3)) ** 2.3
        )
        away = ((canvas.x - side * 60 * size) / 62) ** 2 + ((canvas.y - 5) / 85) ** 2
        dome = bottom + (38 + 6 * side) * np.clip(1 - away, 0, 1)
        lungs |= (level + bumps < 1) & (canvas.z > dome)
    heart = (
        ((canvas.x + 26 * size) / (54 * size)) ** 2
        + ((canvas.y - 24 * size) / (44 * size)) ** 2
        + ((canvas.z + 42 * size) / (54 * size)) ** 2
    ) < 1
    lungs &= ~heart & (np.abs(canvas.x) + 0 * lungs > 15 * size)
    return lungs, heart


def _grow(
    rng: np.random.Generator,
    hu: Volume,
    canvas: Canvas,
    lungs: Mask,
    start: NDArray[np.float64],
    direction: NDArray[np.float64],
    radius: float,
    depth: int,
) -> None:
    """Paints a vessel and, recursively, its branches."""
    end = start + direction * rng.uniform(14, 20) * (0.6 + 0.12 * depth)
    paint_tube(hu, canvas, start, end, radius, BLOOD, lungs)
    if depth == 0:
        return
    for _ in range(2 if rng.random() < 0.6 else 3):
        turned = direction + rng.normal(0, 0.55, 3)
        _grow(
            rng, hu, canvas, lungs, end, turned / np.linalg.norm(turned), radius * 0.74, depth - 1
        )


def draw_chest(rng: np.random.Generator, canvas: Canvas) -> Chest:
    """Draws a chest with the proportions of one patient.

    Args:
        rng: The patient's random stream.
        canvas: Where to draw; about 320 x 256 x 208 mm holds any chest.

    Returns:
        Hounsfield units and lungs.
    """
    size = rng.uniform(0.92, 1.06)
    hu = _draw_wall(rng, canvas, size)
    lungs, heart = _lung_mask(rng, canvas, size)
    hu[heart] = HEART
    # Gravity makes the back of a supine lung denser.
    gravity = -canvas.y / (80 * size)
    parenchyma = (
        rng.uniform(-875, -835)
        + 38 * gravity
        + 16 * smooth_noise(rng, canvas, 18)
        + 12 * smooth_noise(rng, canvas, 7)
    )
    hu[lungs] = parenchyma[lungs]
    everywhere = np.ones(canvas.shape, dtype=bool)
    carina = np.array([0.0, -14.0, 12.0])
    for side in (-1, 1):
        hilum = np.array([side * 24.0 * size, -8.0, -4.0])
        for _ in range(5):
            direction = np.array([side * 0.8, 0.0, 0.0]) + rng.normal(0, 0.75, 3)
            direction /= np.linalg.norm(direction)
            _grow(rng, hu, canvas, lungs, hilum, direction, rng.uniform(3.5, 5.0), 4)
        paint_tube(hu, canvas, carina, hilum, 8.0, MUSCLE, everywhere)
        paint_tube(hu, canvas, carina, hilum, 6.0, -980, everywhere)
        for _ in range(3):
            tip = hilum + np.array([side * 26.0, 0.0, 0.0]) + rng.normal(0, 16, 3)
            paint_tube(hu, canvas, hilum, tip, 4.2, -150, lungs)
            paint_tube(hu, canvas, hilum, tip, 2.8, -980, everywhere)
    trachea_top = np.array([0.0, -14.0, 130.0])
    paint_tube(hu, canvas, carina, trachea_top, 10.0, MUSCLE, everywhere)
    paint_tube(hu, canvas, carina, trachea_top, 8.0, -990, everywhere)
    return Chest(hu, lungs)


def deflated(chest: Chest, denser: float) -> Chest:
    """The chest breathed out in part: aerated lung denser by ``denser`` HU, most at the back."""
    hu = chest.hu.copy()
    aerated = chest.lungs & (hu > -950) & (hu < -650)
    back = np.linspace(1.5, 0.5, hu.shape[1], dtype=np.float32)[None, :, None]
    hu[aerated] += (denser * np.broadcast_to(back, hu.shape))[aerated]
    return Chest(hu, chest.lungs)
