"""Which grids are taken for a scan's: one rule for NIfTI, DICOM and the working grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from examples.covid3d.common.config_checks import PLAUSIBLE_SPACING
from examples.covid3d.common.errors import UserError, problem
from examples.covid3d.scans.geometry import Grid, with_spacing

FEWEST = 4
"""Voxels along an axis; fewer are slices, and no volume."""
MOST_VOXELS = 2**28
"""Of one scan, on its own grid or the working one: 1 GiB as float32, of which several are held."""
PLAUSIBLE_EXTENT = (1.0, 3000.0)
"""Of a field of view along an axis, mm: a specimen, and a whole body with room around it."""

# Distances on a sheared grid are wrong, by 2 % at one degree.
_STRAIGHT = math.sin(math.radians(1))


@dataclass(frozen=True)
class Fault:
    """What is wrong with a grid, what was expected, how to mend it."""

    found: str
    expected: str
    remedy: str

    def error(self, where: Path | str) -> UserError:
        """The error that says so."""
        return problem(where, self.found, self.expected, self.remedy)


def in_mm(lengths: tuple[float, ...]) -> str:
    """Lengths along the axes, for people."""
    return " x ".join(f"{length:.4g}" for length in lengths) + " mm"


def _voxels(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape)


def shape_fault(shape: tuple[int, ...]) -> Fault | None:
    """What a header's shape alone says against a volume, before any memory is asked for."""
    if len(shape) != 3:
        return Fault(f"shape {shape}", "a 3D volume", "export a single series")
    if min(shape) < FEWEST:
        return Fault(
            f"shape {shape}", f"at least {FEWEST} voxels along each axis", "export the whole volume"
        )
    if math.prod(shape) > MOST_VOXELS:
        return Fault(
            f"{_voxels(shape)} voxels, {math.prod(shape) * 4 / 2**30:.3g} GiB",
            f"at most {MOST_VOXELS:,} voxels",
            "crop the scan to the region of interest, or resample it to larger voxels",
        )
    return None


def grid_fault(grid: Grid, units: str = "mm") -> Fault | None:
    """What is wrong with a scan's own grid, or None.

    Args:
        grid: In millimetres.
        units: What its header gives lengths in, for the words.
    """
    fault = shape_fault(grid.shape)
    if fault is not None:
        return fault
    axes = grid.affine[:3, :3]
    lengths = np.linalg.norm(axes, axis=0) if np.isfinite(grid.affine).all() else np.zeros(3)
    if lengths.min() <= 0 or abs(np.linalg.det(axes / lengths)) < 1e-6:
        return Fault(
            "an affine that cannot be inverted",
            "voxel sizes above 0 mm and three independent axes",
            "export the file again, or set its sform",
        )
    low, high = PLAUSIBLE_SPACING
    if not low <= lengths.min() <= lengths.max() <= high:
        said = "" if units == "mm" else f" (its header gives them in {units})"
        return Fault(
            f"voxels of {in_mm(grid.spacing)}{said}",
            f"voxel sizes from {low:g} to {high:g} mm",
            "correct the header's voxel sizes, or its units (NIfTI: xyzt_units)",
        )
    shortest, longest = PLAUSIBLE_EXTENT
    extent = lengths * grid.shape
    if not shortest <= extent.min() <= extent.max() <= longest:
        return Fault(
            f"a field of view of {in_mm(tuple(extent))}",
            f"{shortest:g} to {longest:g} mm along each axis",
            "correct the header's voxel sizes, or crop the scan",
        )
    unit = axes / lengths
    off = float(np.abs(unit.T @ unit - np.eye(3)).max())
    if off > _STRAIGHT:
        return Fault(
            f"a sheared grid: two axes {90 - math.degrees(math.asin(min(off, 1))):.0f} degrees "
            "apart",
            "axes at right angles, to a degree",
            "resample the scan to a straight grid (a tilted gantry shears; so may a registration)",
        )
    return None


def working_fault(own: Grid, spacing: tuple[float, float, float]) -> Fault | None:
    """What is wrong with the grid that a scan would be resampled to, or None."""
    shape = with_spacing(own, spacing).shape
    size = f"{_voxels(own.shape)} voxels of {in_mm(own.spacing)}"
    if math.prod(shape) > MOST_VOXELS:
        return Fault(
            f"{size} would become {_voxels(shape)} voxels, {math.prod(shape) * 4 / 2**30:.3g} GiB, "
            f"at a spacing of {in_mm(spacing)}",
            f"at most {MOST_VOXELS:,} voxels",
            "give a larger --spacing, or crop the scan",
        )
    if min(shape) < FEWEST:
        return Fault(
            f"{size} would become {_voxels(shape)} voxels at a spacing of {in_mm(spacing)}",
            f"at least {FEWEST} voxels along each axis",
            "give a smaller --spacing",
        )
    return None
