"""Reading one DICOM series: voxels and where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.covid3d.common.errors import problem
from examples.covid3d.scans.geometry import Grid
from examples.covid3d.scans.readers.dicom_headers import (
    file_reader,
    keeping_locale,
    list_series,
    looks_like_dicom,
    reason_of,
    simpleitk,
)
from examples.covid3d.scans.readers.dicom_stack import Series, UnusableSeriesError, arrange

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
    files = sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.is_file())
    headers, _ = list_series(path for path in files if looks_like_dicom(path))
    if uid not in headers:
        raise problem(
            folder, "no file of that series", expected, "restore the files, or prepare anew"
        )
    try:
        return arrange(headers[uid])
    except UnusableSeriesError as error:
        raise problem(
            folder, str(error), "an evenly spaced axial series", "export the series again"
        ) from error


@keeping_locale()
def read_series(folder: Path, uid: str) -> tuple[NDArray[np.float32], Grid]:
    """Reads the voxels of one series.

    Each slice's own rescale slope and intercept are applied.

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
    for index, path in enumerate(series.files):
        reader = file_reader(path)
        reader.SetOutputPixelType(sitk.sitkFloat32)
        try:
            volume[index] = sitk.GetArrayFromImage(reader.Execute())[0]
        except RuntimeError as error:
            raise problem(
                path,
                f"pixels that cannot be read ({reason_of(error)})",
                "a DICOM image",
                "export the series again",
            ) from error
    return volume.transpose(2, 1, 0), series.grid
