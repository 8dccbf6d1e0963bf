"""Drawing primitives shared by anatomy and lesions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Canvas:
    """Coordinates to draw on, mm from the centre of the chest, RAS+.

    Attributes:
        spacing: Isotropic voxel size, mm.
        x: Towards the patient's right, (X, 1, 1).
        y: Towards the front, (1, Y, 1).
        z: Towards the head, (1, 1, Z).
    """

    spacing: float
    x: Volume
    y: Volume
    z: Volume

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along each axis."""
        return self.x.size, self.y.size, self.z.size


def new_canvas(extent: tuple[float, float, float], spacing: float) -> Canvas:
    """A canvas of the given extent (mm along x, y, z), centred at the origin."""
    x, y, z = (
        ((np.arange(n) - (n - 1) / 2) * spacing).astype(np.float32)
        for n in (max(2, round(length / spacing)) for length in extent)
    )
    return Canvas(spacing, x[:, None, None], y[None, :, None], z[None, None, :])


def smooth_noise(rng: np.random.Generator, canvas: Canvas, scale: float) -> Volume:
    """Noise of mean 0 and deviation 1 that varies over ``scale`` mm, of the canvas's shape."""
    coarse = [max(2, round(n * canvas.spacing / scale) + 1) for n in canvas.shape]
    seeds = torch.from_numpy(rng.standard_normal(coarse, dtype=np.float32))
    fine = F.interpolate(seeds[None, None], canvas.shape, mode="trilinear", align_corners=True)
    field: Volume = fine[0, 0].numpy()
    # Interpolation averages neighbours and so shrinks the deviation.
    return field / max(float(field.std()), 1e-6)


def blur(volume: Volume, sigma: float, axes: tuple[int, ...] = (0, 1, 2)) -> Volume:
    """Gaussian blur of standard deviation ``sigma`` voxels along ``axes``."""
    radius = max(1, int(np.ceil(3 * sigma)))
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    taps = taps / taps.sum()
    result = torch.from_numpy(volume)[None, None]
    for axis in axes:
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = taps.numel()
        padding = [0, 0, 0, 0, 0, 0]
        # F.pad counts axes from the last.
        padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = radius
        result = F.conv3d(F.pad(result, padding, mode="replicate"), taps.reshape(shape))
    blurred: Volume = result[0, 0].numpy()
    return blurred


def paint_tube(
    volume: Volume,
    canvas: Canvas,
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    radius: float,
    value: float,
    where: Mask,
) -> None:
    """Paints a straight tube into ``volume``, in place, with edges of partial volume.

    Args:
        volume: HU, the canvas's shape.
        canvas: Coordinates.
        start: One end, mm.
        end: The other end, mm.
        radius: Radius, mm.
        value: HU of the tube.
        where: Voxels that may be painted.
    """
    reach = radius + canvas.spacing
    window = []
    for axis, line in enumerate((canvas.x, canvas.y, canvas.z)):
        low, high = sorted((start[axis], end[axis]))
        inside = np.flatnonzero((line.ravel() >= low - reach) & (line.ravel() <= high + reach))
        if inside.size == 0:
            return
        window.append(slice(int(inside[0]), int(inside[-1]) + 1))
    box = tuple(window)
    points = (canvas.x[box[0]], canvas.y[:, box[1]], canvas.z[:, :, box[2]])
    direction = end - start
    along = sum((p - s) * d for p, s, d in zip(points, start, direction, strict=True))
    share = np.clip(along / max(float(direction @ direction), 1e-6), 0, 1)
    squared = sum(
        (p - s - share * d) ** 2 for p, s, d in zip(points, start, direction, strict=True)
    )
    alpha = np.clip((radius - np.sqrt(squared)) / canvas.spacing + 0.5, 0, 1) * where[box]
    # A vessel thinner than a voxel fills only part of it.
    alpha = alpha * min(1.0, (2 * radius / canvas.spacing) ** 2)
    volume[box] = volume[box] * (1 - alpha) + value * alpha
