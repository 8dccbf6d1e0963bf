"""From Hounsfield units, what is left of them, or other intensities to network input."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.covid3d.common.config import Intensity
from examples.covid3d.common.errors import UserError, problem

# A chest scan has air in it; -1000 HU, but for noise and padding.
_AIR_AT_MOST = -500.0


class IntensityError(UserError):
    """Intensities that are not those of CT; of most scans of a folder, the option is at fault."""


class WindowedScanWarning(UserWarning):
    """A scan is not in Hounsfield units but already windowed to 0..255."""


def normalise(
    volume: NDArray[np.float32], intensity: Intensity, window: tuple[float, float], path: Path | str
) -> tuple[NDArray[np.float32], str]:
    """Makes network input of a scan's intensities.

    Args:
        volume: Voxels as stored, rescale slope and intercept applied.
        intensity: How; see :data:`examples.covid3d.common.config.Intensity`.
        window: Lower and upper end, HU for CT.
        path: Named in warnings and errors.

    Returns:
        The same shape, and the scale the intensities were on: ``HU``, ``0..255`` or ``any``.

    Raises:
        UserError: If all voxels are the same.
        IntensityError: If they are not those of CT, and should be.
    """
    if volume.min() == volume.max():
        raise problem(
            path, f"all voxels are {volume.flat[0]:g}", "an image", "export the scan again"
        )
    if intensity == "ct":
        unit = to_unit_range(volume, window, path)
        return unit, ct_scale(float(volume.min()), float(volume.max())) or ""
    if intensity == "window":
        return _windowed(volume, window), "any"
    deviation = float(volume.std(dtype=np.float64))
    mean = float(volume.mean(dtype=np.float64))
    return ((volume - mean) / deviation).astype(np.float32), "any"


def _windowed(volume: NDArray[np.float32], window: tuple[float, float]) -> NDArray[np.float32]:
    lower, upper = window
    return ((np.clip(volume, lower, upper) - lower) / (upper - lower)).astype(np.float32)


def to_unit_range(
    volume: NDArray[np.float32], window: tuple[float, float], path: Path | str
) -> NDArray[np.float32]:
    """Windows a chest CT and scales it to [0, 1].

    The ``radiopaedia`` volumes of the Benchmark are not in HU but windowed to 0..255, which their
    range gives away: no volume in HU with air in it stays above -500.

    Args:
        volume: Voxels in HU, or already windowed to 0..255.
        window: Lower and upper end, HU; [-1250, 250] is the lung window used here.
        path: Named in warnings and errors.

    Returns:
        Same shape, 0 at the lower end of the window and below, 1 at the upper end and above.

    Warns:
        WindowedScanWarning: If the volume was already windowed; the window it was made with is
            unknown, and taken to be ``window``.

    Raises:
        IntensityError: If the range is that of neither.
    """
    low, high = float(volume.min()), float(volume.max())
    scale = ct_scale(low, high)
    if scale == "HU":
        return _windowed(volume, window)
    if scale == "0..255":
        warnings.warn(
            f"{path}: values from {low:g} to {high:g} are not Hounsfield units; taken as already "
            f"windowed to 0..255 over [{window[0]:g}, {window[1]:g}] HU",
            WindowedScanWarning,
            stacklevel=2,
        )
        return (volume / np.float32(255)).astype(np.float32)
    raise IntensityError(
        problem(
            path,
            f"values from {low:g} to {high:g}, which CT has not",
            f"Hounsfield units (a chest has air, below {_AIR_AT_MOST:g}), or windowed to 0..255",
            "apply the scanner's rescale slope and intercept (often: subtract 1024); for other "
            "images than CT, --intensity zscore or window",
        )
    )


def ct_scale(low: float, high: float) -> str | None:
    """On which scale a chest CT is by its range: ``HU``, ``0..255``, or None if it is no CT."""
    if low < _AIR_AT_MOST:
        return "HU"
    return "0..255" if low >= 0 and 1 < high <= 255 else None
