"""Reading scans and masks, with errors a user can act on."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from examples.covid3d.common.errors import UserError, problem
from examples.covid3d.common.faults import passing_fault, read_through
from examples.covid3d.scans.geometry import Grid
from examples.covid3d.scans.grid_rules import grid_fault

# A tenth of a millimetre: far below a voxel, well above what float32 headers lose.
_AFFINE_TOLERANCE = 0.1
# What a damaged file makes nibabel raise, by and by.
_UNREADABLE = (
    ImageFileError, HeaderDataError, OSError, EOFError, ValueError, TypeError, OverflowError,
    MemoryError, zlib.error,
)  # fmt: skip


# NIfTI counts in these; a header that names none means millimetres.
_UNITS = {1: ("metres", 1000.0), 2: ("mm", 1.0), 3: ("micrometres", 0.001)}


def _open(path: Path) -> tuple[Any, Grid, str]:
    """The file with its voxels unread, its grid in millimetres, and the header's units."""
    expected = "a 3D NIfTI volume (.nii or .nii.gz)"
    if not path.is_file():
        raise problem(path, "no such file", expected, "check the path and the file's name")
    try:
        image = _load(path)
        if image.get_data_dtype().kind not in "iufb":
            raise ValueError(f"voxels of type {image.get_data_dtype()}")
        shape = tuple(int(side) for side in image.shape)
        affine = np.array(image.affine, dtype=np.float64)
        code = int(image.header["xyzt_units"]) & 7 if "xyzt_units" in image.header else 0
    except _UNREADABLE as error:
        raise _damaged(path, error) from error
    if len(shape) == 4 and shape[3] == 1:
        shape = shape[:3]
    if len(shape) != 3:
        raise problem(path, f"shape {shape}", expected, "export a single series")
    units, factor = _UNITS.get(code, ("mm", 1.0))
    affine[:3] *= factor
    return image, Grid((shape[0], shape[1], shape[2]), affine), units


def _voxels(image: Any, grid: Grid, path: Path) -> NDArray[np.float32]:
    try:
        volume = np.asarray(image.dataobj, dtype=np.float32)
    except _UNREADABLE as error:
        raise _damaged(path, error) from error
    return volume.reshape(grid.shape)


def _load(path: Path) -> Any:
    try:
        return nibabel.load(path)
    except ImageFileError:
        # nibabel takes a disk that does not answer for a file of no known type.
        read_through([path])
        return nibabel.load(path)


def _damaged(path: Path, error: Exception) -> UserError:
    """The user's error; what a disk or the machine failed with is raised instead."""
    passing = passing_fault(error)
    if passing is not None:
        raise passing
    return problem(
        path,
        f"cannot be read ({error})",
        "a 3D NIfTI volume (.nii or .nii.gz)",
        "download or export the file again",
    )


def load_grid(path: Path) -> Grid:
    """Where the voxels of a file are, in millimetres, by its header alone.

    Raises:
        UserError: If the file is missing, no NIfTI file, or its grid is none of a scan.
    """
    return _open_scan(path)[1]


def _open_scan(path: Path) -> tuple[Any, Grid]:
    image, grid, units = _open(path)
    fault = grid_fault(grid, units)
    if fault is not None:
        raise fault.error(path)
    return image, grid


def load_image(path: Path) -> tuple[NDArray[np.float32], Grid]:
    """Loads a scan on its own grid.

    Args:
        path: NIfTI file.

    Returns:
        The voxels (X, Y, Z) as stored (rescale slope and intercept applied), and where they are.

    Raises:
        UserError: If the file is missing or corrupt, its grid is none of a scan (see
            :mod:`examples.covid3d.scans.grid_rules`), or it holds NaN.
    """
    image, grid = _open_scan(path)
    volume = _voxels(image, grid, path)
    if not np.isfinite(volume).all():
        raise problem(
            path,
            f"{int((~np.isfinite(volume)).sum())} voxels that are NaN or infinite",
            "finite intensities",
            "replace them, for instance with -1000 HU (air)",
        )
    return volume, grid


def load_labels(path: Path, image_path: Path, image_grid: Grid) -> NDArray[np.float32]:
    """Loads the labels of a scan as they are in the file.

    Raises:
        UserError: If the file is unusable, or its shape or affine is not the scan's.
    """
    image, grid = _open_mask(path, image_path, image_grid)
    return _voxels(image, grid, path)


def check_mask_grid(path: Path, image_path: Path, image_grid: Grid) -> None:
    """Checks by its header that a mask is on its scan's grid.

    Raises:
        UserError: If the file is unusable, or its shape or affine is not the scan's.
    """
    _open_mask(path, image_path, image_grid)


def _open_mask(path: Path, image_path: Path, image_grid: Grid) -> tuple[Any, Grid]:
    # Held against its scan's grid, which has been checked, before its voxels are read.
    image, grid, units = _open(path)
    if grid.shape != image_grid.shape:
        raise problem(
            path,
            f"shape {grid.shape}",
            f"{image_grid.shape}, that of its scan {image_path}",
            "pair it with the scan it was drawn on, or resample it to that grid",
        )
    # Compared at the far corner, where a difference in direction or spacing shows most.
    corner = np.append(np.asarray(grid.shape) - 1, 1)
    apart = max(
        float(np.abs(grid.affine[:3, 3] - image_grid.affine[:3, 3]).max()),
        float(np.abs((grid.affine - image_grid.affine) @ corner).max()),
    )
    if not apart <= _AFFINE_TOLERANCE:
        said = "" if units == "mm" else f" (its header is in {units})"
        raise problem(
            path,
            f"an affine up to {apart:.3g} mm away from that of its scan {image_path}{said}",
            "the same affine",
            "copy the scan's affine if the voxels do correspond, else resample the mask",
        )
    return image, grid


def load_mask(
    path: Path,
    image_path: Path,
    image_grid: Grid,
    foreground: tuple[int, ...] = (1,),
    known: tuple[int, ...] | None = None,
) -> NDArray[np.uint8]:
    """Loads the lesion mask of a scan, and checks that it is on the scan's grid.

    Args:
        path: NIfTI file of labels.
        image_path: The scan's file, named in errors.
        image_grid: The scan's grid.
        foreground: Labels that become 1; all others become 0.
        known: Labels that the file may hold, beside 0 and the foreground; None means no others.

    Returns:
        Labels 0 or 1, (X, Y, Z).

    Raises:
        UserError: If the file is unusable, its shape or affine is not the scan's, it holds labels
            that are not known, or 0 (background) or nothing is asked for as foreground.
    """
    if not foreground or 0 in foreground:
        raise problem(
            "foreground labels",
            ", ".join(map(str, foreground)) or "none",
            "at least one label, and not 0, which is background",
            "choose the labels of what is to be found",
        )
    volume = load_labels(path, image_path, image_grid)
    return foreground_of(volume, path, foreground, known)


def foreground_of(
    volume: NDArray[np.float32],
    path: Path,
    foreground: tuple[int, ...],
    known: tuple[int, ...] | None = None,
) -> NDArray[np.uint8]:
    """Makes 0 and 1 of labels (see :func:`load_mask`).

    Raises:
        UserError: If there are labels that are not known.
    """
    labels = np.unique(volume)
    allowed = sorted({0, *foreground, *(known or ())})
    unknown = labels[~np.isin(labels, allowed)]
    if unknown.size:
        raise problem(
            path,
            f"labels {_listed(labels)} (not known: {_listed(unknown)})",
            "0 (background) and 1 (lesion)"
            if allowed == [0, 1]
            else f"labels {_listed(allowed)}; {_listed(foreground)} as foreground",
            "map the lesion labels to 1 and all others to 0 (a lung mask is not a lesion mask), or "
            "set which labels are foreground and which are known",
        )
    return np.isin(volume, foreground).astype(np.uint8)


def _listed(labels: Sequence[float] | NDArray[np.float32]) -> str:
    """The first labels, for errors."""
    shown = ", ".join(f"{label:g}" for label in labels[:8])
    return f"{shown}{', ...' if len(labels) > 8 else ''}"
