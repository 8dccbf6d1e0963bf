"""Exact Euclidean distances to a surface, in millimetres."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

Spacing = tuple[float, float, float]
_SLACK = 1e-5
# A transform costs half a microsecond a voxel of the box, whatever is in it; a tree two a point
# where the surfaces are close, and up to two hundred where they are far apart and alike. A tree is
# taken where even half of that would not cost more.
_VOXELS_A_POINT = 64


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

    Both surfaces lie in the box that bounds the two masks, and so does the nearest point of the one
    to any point of the other: what is outside changes neither a surface (it is background, as what
    is beyond the volume is) nor a distance, and is cut off first. Small surfaces are put into a
    search tree. Those of noise, which fill the box, would take minutes so; they get a distance
    transform of the box, 13 bytes a voxel. Either is exact, to the rounding of a float64.

    Args:
        a: Mask, (X, Y, Z), not empty.
        b: Mask of the same shape, not empty.
        spacing: Voxel size, mm.

    Returns:
        Distance of each surface voxel of ``a`` to the nearest of ``b``, and the other way, mm.
    """
    box = _bounds(a, b)
    edge_a, edge_b = surface(a[box]), surface(b[box])
    points_a, points_b = (np.argwhere(edge) * np.asarray(spacing) for edge in (edge_a, edge_b))
    if _VOXELS_A_POINT * (len(points_a) + len(points_b)) < edge_a.size:
        return KDTree(points_b).query(points_a)[0], KDTree(points_a).query(points_b)[0]
    return _by_transform(edge_a, edge_b, spacing), _by_transform(edge_b, edge_a, spacing)


def _bounds(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The smallest box with all voxels of two masks, of which one has some."""
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        found = np.flatnonzero(a.any(others) | b.any(others))
        box.append(slice(int(found[0]), int(found[-1]) + 1))
    return tuple(box)


def _by_transform(
    of: NDArray[np.bool_], to: NDArray[np.bool_], spacing: Spacing
) -> NDArray[np.float64]:
    # The transform's own distances would take three times the memory of its indices, and are
    # wanted at a few voxels only.
    nearest = distance_transform_edt(
        ~to, sampling=spacing, return_distances=False, return_indices=True
    )
    apart = (np.argwhere(of) - nearest[:, of].T) * np.asarray(spacing)
    distances: NDArray[np.float64] = np.linalg.norm(apart, axis=1)
    return distances


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
