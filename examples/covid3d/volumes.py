"""A scan's voxels and checksum, whatever its format."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.covid3d.dicom import find_series, read_series
from examples.covid3d.errors import problem
from examples.covid3d.geometry import Grid
from examples.covid3d.nifti import load_image
from examples.covid3d.readers.scan import Scan


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


def sha256_of(scan: Scan) -> str:
    """Checksum of a scan's image, as hexadecimal digits.

    Args:
        scan: A NIfTI file, whose bytes count; or a DICOM series, whose files' bytes count in order
            of the slices, so that file names play no part.

    Returns:
        SHA-256.

    Raises:
        UserError: If a file cannot be read, or the series is unusable.
    """
    if scan.series is None:
        return sha256_of_files([scan.image])
    return sha256_of_files(find_series(scan.image, scan.series).files)


def sha256_of_files(paths: Iterable[Path]) -> str:
    """SHA-256 of the bytes of files, one after the other, as hexadecimal digits.

    Raises:
        UserError: If a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise problem(
                path, f"cannot be read ({error.strerror})", "a file", "check the path"
            ) from error
    return digest.hexdigest()
