"""Reading one DICOM series: voxels and where they are."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.covid3d.common.errors import problem
from examples.covid3d.scans.geometry import Grid
from examples.covid3d.scans.readers.dicom_folder import series_in
from examples.covid3d.scans.readers.dicom_headers import (
    file_reader,
    keeping_locale,
    list_series,
    reason_of,
    simpleitk,
)
from examples.covid3d.scans.readers.dicom_stack import Series, UnusableSeriesError, arrange
from examples.covid3d.scans.readers.listing import is_hidden

__all__ = ["Series", "UnusableSeriesError", "arrange", "find_series", "list_series", "read_series"]


@keeping_locale()
def find_series(folder: Path, uid: str) -> Series:
    """Finds one series of a folder.

    Raises:
        UserError: If SimpleITK is not installed, or the series is missing or unusable.
    """
    expected = f"the DICOM files of series {uid}"
    if not folder.is_dir():
        raise problem(folder, "no such folder", expected, "check the path")
    here = (path for path in folder.iterdir() if not is_hidden(path) and path.is_file())
    stack = series_in(folder, here).stacks.get(uid)
    if stack is None:
        raise problem(
            folder, "no file of that series", expected, "restore the files, or prepare anew"
        )
    if stack.series is None:
        raise problem(
            folder, stack.reason, "an evenly spaced axial series", "export the series again"
        )
    return stack.series


@keeping_locale()
def read_series(folder: Path, uid: str) -> tuple[NDArray[np.float32], Grid]:
    """Reads the voxels of one series.

    Each slice's own rescale slope and intercept are applied; a file is read once, whether it is a
    slice or has many frames.

    Args:
        folder: Holds its files, and maybe others.
        uid: SeriesInstanceUID.

    Returns:
        Voxels (X, Y, Z) as column, row and slice, in HU for CT, and where they are, RAS+.

    Raises:
        UserError: If SimpleITK is not installed, or the series is missing, unusable or corrupt.
    """
    series = find_series(folder, uid)
    sitk = simpleitk()
    columns, rows, count = series.grid.shape
    volume = np.empty((count, rows, columns), np.float32)
    places: dict[Path, list[int]] = defaultdict(list)
    for index, path in enumerate(series.files):
        places[path].append(index)
    for path, indices in places.items():
        reader = file_reader(path)
        reader.SetOutputPixelType(sitk.sitkFloat32)
        try:
            frames = sitk.GetArrayFromImage(reader.Execute()).reshape(-1, rows, columns)
        except RuntimeError as error:
            raise problem(
                path,
                f"pixels that cannot be read ({reason_of(error)})",
                "a DICOM image",
                "export the series again",
            ) from error
        for index in indices:
            frame, slope, intercept = series.frames[index] if series.frames else (0, 1.0, 0.0)
            volume[index] = frames[frame] * np.float32(slope) + np.float32(intercept)
    return volume.transpose(2, 1, 0), series.grid
