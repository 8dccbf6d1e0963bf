"""Exact Euclidean distances to a surface, in millimetres."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

Spacing = tuple[float, float, float]
_SLACK = 1e-5


def surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels of a mask with a face on the background; what is beyond the volume is background."""
    inner = np.pad(mask, 1)
    core = inner.copy()
    for axis in range(3):
        for shift in (-1, 1):
            core &= np.roll(inner, shift, axis)
    edge: NDArray[np.bool_] = mask & ~core[1:-1, 1:-1, 1:-1]
    return edge


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
    points_a, points_b = (np.argwhere(surface(mask)) * np.asarray(spacing) for mask in (a, b))
    return KDTree(points_b).query(points_a)[0], KDTree(points_a).query(points_b)[0]


def normalised_surface_dice(
    to_true: NDArray[np.float64], to_predicted: NDArray[np.float64], tolerance: float
) -> float:
    """Share of the surface voxels of two masks that lie within a tolerance of the other surface.

    Nikolov et al. 2018 (arXiv:1809.04430, "surface Dice at tolerance") weigh every piece of
    surface by its area. Here every surface voxel counts once, whatever the spacing, and a surface
    voxel is a mask voxel with a face on the background: the definition, and the number, of MONAI's
    ``compute_surface_dice`` with its default ``use_subvoxels=False``. Its ``use_subvoxels=True``
    puts surface elements on voxel corners and weighs them by area; the two differ, the more so the
    more anisotropic the voxels.

    Args:
        to_true: Distance of each surface voxel of the prediction to the true surface, mm.
        to_predicted: Distance of each surface voxel of the truth to the predicted surface, mm.
        tolerance: Distance up to which, itself included, a voxel is in the right place, mm.

    Returns:
        Between 0 and 1. At least one surface must have a voxel.
    """
    # Spacings come from a header's float32: 21 voxels of 1/7 mm are 3 mm, whatever they round to.
    limit = tolerance * (1 + _SLACK)
    right = int((to_true <= limit).sum()) + int((to_predicted <= limit).sum())
    return right / (len(to_true) + len(to_predicted))
