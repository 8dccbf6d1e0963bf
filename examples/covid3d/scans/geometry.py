"""Voxel grids in the world, and resampling between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import nibabel
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

# Half-way between two voxels, rounding error alone would choose; this makes it the upper one.
_TIE = 1e-4
_VOXELS_AT_ONCE = 4_000_000


@dataclass(frozen=True, eq=False)
class Grid:
    """A lattice of voxels in the world.

    Attributes:
        shape: Voxels along each axis.
        affine: (4, 4), voxel index to world millimetres, RAS+ as in NIfTI.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along each axis, mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel, ml."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000


def with_spacing(grid: Grid, spacing: tuple[float, float, float]) -> Grid:
    """The grid with the same field of view, axes in RAS+ order and the given spacing.

    Axes are permuted and flipped, not rotated: an oblique scan stays oblique, and is not
    interpolated more than its spacing asks for.

    Args:
        grid: A scan's own grid.
        spacing: Wanted spacing, mm, right-left, anterior-posterior and superior-inferior.

    Returns:
        A grid whose outer faces meet those of ``grid`` to within half a voxel.
    """
    orientation = nibabel.io_orientation(grid.affine)
    to_own = nibabel.orientations.inv_ornt_aff(orientation, grid.shape)
    canonical = grid.affine @ to_own
    order = np.argsort(orientation[:, 0]).astype(int)
    extent = np.asarray(grid.shape)[order] * np.linalg.norm(canonical[:3, :3], axis=0)
    shape = np.maximum(1, np.rint(extent / spacing).astype(int))
    affine = canonical.copy()
    unit = canonical[:3, :3] / np.linalg.norm(canonical[:3, :3], axis=0)
    affine[:3, :3] = unit * np.asarray(spacing)
    # Voxel centres are half a voxel inside the faces; the two fields of view share their centre.
    own_centre = canonical @ np.append((np.asarray(grid.shape)[order] - 1) / 2, 1)
    affine[:3, 3] = own_centre[:3] - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def resample(
    volume: Tensor, source: Grid, target: Grid, mode: Literal["linear", "nearest"]
) -> Tensor:
    """Resamples a volume from one grid to another, whatever their orientations.

    Args:
        volume: Floating point, (X, Y, Z) of ``source``.
        source: Where the voxels of ``volume`` are.
        target: Where values are wanted.
        mode: ``"linear"`` (trilinear, as the paper has it) or ``"nearest"`` for labels.

    Returns:
        Values at the voxels of ``target``; beyond the source, those of its nearest border voxel.
    """
    to_source = np.linalg.inv(source.affine) @ target.affine
    size = torch.tensor(source.shape, dtype=torch.float64)
    axes = [torch.arange(n, dtype=torch.float64) for n in target.shape]
    matrix = torch.from_numpy(to_source)
    slab = max(1, _VOXELS_AT_ONCE // max(1, target.shape[1] * target.shape[2]))
    pieces = []
    for xs in torch.split(axes[0], slab):
        index = torch.stack(torch.meshgrid(xs, axes[1], axes[2], indexing="ij"), dim=-1)
        position = index @ matrix[:3, :3].T + matrix[:3, 3]
        if mode == "nearest":
            position = position + _TIE
        unit = 2 * position / (size - 1).clamp(min=1) - 1
        # grid_sample wants the last axis first.
        unit = unit.flip(-1).to(volume.dtype)[None].to(volume.device)
        piece = F.grid_sample(
            volume[None, None],
            unit,
            mode="bilinear" if mode == "linear" else "nearest",
            padding_mode="border",
            align_corners=True,
        )
        pieces.append(piece[0, 0])
    return torch.cat(pieces)
