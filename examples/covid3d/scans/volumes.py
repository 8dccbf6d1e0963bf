"""A scan's voxels and checksum, whatever its format."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from examples.covid3d.scans.dicom import find_series, read_series
from examples.covid3d.scans.geometry import Grid
from examples.covid3d.scans.nifti import load_grid, load_image
from examples.covid3d.scans.readers.scan import Scan


def load_scan(scan: Scan) -> tuple[NDArray[np.float32], Grid]:
    """Loads a scan on its own grid.

    Args:
        scan: A NIfTI file or a DICOM series.

    Returns:
        Voxels (X, Y, Z), rescale slope and intercept applied (HU for CT), and where they are, RAS+
        millimetres.

    Raises:
        UserError: If it is unusable.
    """
    if scan.series is None:
        return load_image(scan.image)
    return read_series(scan.image, scan.series)


def grid_of(scan: Scan) -> Grid:
    """Where a scan's voxels are, by its headers alone.

    Raises:
        UserError: If it is unusable.
    """
    if scan.series is None:
        return load_grid(scan.image)
    return find_series(scan.image, scan.series).grid


def modality_of(scan: Scan) -> str:
    """What a DICOM series' header says, such as ``CT``; empty where nothing does.

    Raises:
        UserError: If the series is unusable.
    """
    return "" if scan.series is None else find_series(scan.image, scan.series).modality


def voxels_checksum(volume: NDArray[np.float32]) -> str:
    """SHA-256 of a scan's values alone, in order of size: not of where they are.

    A copy with another origin, other voxel sizes or axes turned or mirrored has the same; two
    scans, with the noise of a scanner in them, do not.
    """
    # Adding zero makes one of the two zeros.
    values: NDArray[np.float32] = np.sort(volume, axis=None) + np.float32(0)
    digest = hashlib.sha256(values.data)
    digest.update(str(sorted(volume.shape)).encode())
    return digest.hexdigest()


def checksum_of(volume: NDArray[np.float32], grid: Grid) -> str:
    """SHA-256 of a scan's voxels and of where they are, as hexadecimal digits.

    Of what a file holds, and not of its bytes: a copy that was compressed otherwise, or brought
    from DICOM to NIfTI, has the same.

    Args:
        volume: As loaded, (X, Y, Z).
        grid: Its grid; positions count to a hundredth of a millimetre.
    """
    digest = hashlib.sha256(np.ascontiguousarray(volume).data)
    digest.update(str(volume.shape).encode())
    # Adding zero makes one of the two zeros.
    digest.update((np.round(grid.affine, 2) + 0.0).tobytes())
    return digest.hexdigest()


def checksum_of_mask(mask: NDArray[np.uint8]) -> str:
    """SHA-256 of a mask of zeros and ones as hexadecimal digits: of which voxels are foreground."""
    digest = hashlib.sha256(str(mask.shape).encode())
    digest.update(np.packbits(mask).data)
    return digest.hexdigest()
