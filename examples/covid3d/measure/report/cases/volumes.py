"""Scans and masks as they are drawn: RAS+, intensities for the eye."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from examples.covid3d.common.config import Config
from examples.covid3d.scans.geometry import Grid
from examples.covid3d.scans.nifti import load_mask
from examples.covid3d.scans.readers.scan import Scan


def canonical(path: Path) -> NDArray[np.float32]:
    """A prediction, turned to RAS+."""
    image = nibabel.as_closest_canonical(nibabel.load(path))
    return np.asarray(image.dataobj, dtype=np.float32)


def turned(volume: NDArray[Any], grid: Grid) -> tuple[NDArray[Any], tuple[float, float, float]]:
    """A volume of a grid, turned to RAS+, with its voxel size in mm."""
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume, grid.affine))
    right, front, up = (float(mm) for mm in image.header.get_zooms()[:3])
    return np.asarray(image.dataobj), (right, front, up)


def for_the_eye(volume: NDArray[np.float32], config: Config) -> NDArray[np.float32]:
    """Intensities from 0 to 1: the window for CT, else from the 1st to the 99th percentile."""
    if config.intensity == "ct" and volume.min() < 0:
        low, high = config.window
    else:
        low, high = (float(value) for value in np.percentile(volume, (1, 99)))
    shown: NDArray[np.float32] = np.clip((volume - low) / max(high - low, 1e-6), 0, 1)
    return shown


def axial(volume: NDArray[Any], k: int) -> NDArray[Any]:
    """Slice ``k`` of a RAS+ volume, front up and the patient's right on the left."""
    # A copy, for a view would keep the whole volume in memory.
    return volume[::-1, ::-1, k].T.copy()


def expert_mask(source: Scan, grid: Grid, config: Config) -> NDArray[np.uint8]:
    """The expert's mask of a test scan, on the scan's own grid."""
    if source.mask is None:
        raise ValueError(f"test scan {source.name} has no mask")
    return load_mask(source.mask, source.image, grid, config.foreground_labels, source.labels)
