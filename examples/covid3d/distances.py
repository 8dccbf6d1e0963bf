"""Exact Euclidean distances to a surface, in millimetres."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Spacing = tuple[float, float, float]


def surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels of a mask with a face on the background; what is beyond the volume is background."""
    inner = np.pad(mask, 1)
    core = inner.copy()
    for axis in range(3):
        for shift in (-1, 1):
            core &= np.roll(inner, shift, axis)
    edge: NDArray[np.bool_] = mask & ~core[1:-1, 1:-1, 1:-1]
    return edge


def _squared_distance(points: NDArray[np.bool_], spacing: Spacing) -> Tensor:
    """Squared distance of every voxel to the nearest point, mm²; infinite if there is none.

    Squared Euclidean distance separates over the axes: along each in turn, a minimum over all
    offsets.
    """
    squared = torch.where(torch.from_numpy(points), 0.0, torch.inf)
    for axis, step in enumerate(spacing):
        n = squared.shape[axis]
        shape = [1, 1, 1]
        shape[axis] = n
        line = torch.arange(n, dtype=squared.dtype).reshape(shape)
        nearest = torch.full_like(squared, torch.inf)
        for index in range(n):
            candidate = squared.select(axis, index).unsqueeze(axis)
            if torch.isfinite(candidate).any():
                nearest = torch.minimum(nearest, candidate + (step * (line - index)) ** 2)
        squared = nearest
    return squared


def surface_distances(
    a: NDArray[np.bool_], b: NDArray[np.bool_], spacing: Spacing
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances between the surfaces of two masks, voxel centre to voxel centre.

    Args:
        a: Mask, (X, Y, Z), not empty.
        b: Mask of the same shape, not empty.
        spacing: Voxel size, mm.

    Returns:
        Distance of each surface voxel of ``a`` to the nearest of ``b``, and the other way, mm.
    """
    occupied = np.argwhere(a | b)
    x, y, z = (
        slice(int(low), int(high) + 1)
        for low, high in zip(occupied.min(0), occupied.max(0), strict=True)
    )
    # Cropped to what is occupied, with the surfaces of the whole: a face on the crop's border is
    # a face only if the mask ends there, and it does.
    edge_a, edge_b = surface(a[x, y, z]), surface(b[x, y, z])
    to_b = _squared_distance(edge_b, spacing).sqrt().numpy()
    to_a = _squared_distance(edge_a, spacing).sqrt().numpy()
    return to_b[edge_a].astype(np.float64), to_a[edge_b].astype(np.float64)
