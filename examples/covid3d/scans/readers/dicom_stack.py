"""From the headers of a DICOM series to a stack of slices in the world."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.covid3d.scans.geometry import Grid
from examples.covid3d.scans.grid_rules import grid_fault
from examples.covid3d.scans.readers.dicom_headers import Slice

# Within 25 degrees of the body's long axis.
_AXIAL = np.cos(np.radians(25))
# A gantry tilt shears the volume, and distances on a sheared grid are wrong.
_STRAIGHT = np.cos(np.radians(1))
# Positions are often written with one decimal only; a missing slice is off by half a step or more.
_OFF_GRID = 0.1
_SAME = 1e-3


class UnusableSeriesError(Exception):
    """A series that is no evenly spaced axial volume; the message says why, on one line."""


@dataclass(frozen=True, eq=False)
class Series:
    """A usable series.

    Attributes:
        uid: SeriesInstanceUID.
        patient: PatientID, empty if there is none.
        modality: ``CT`` and the like, empty if there is none.
        paths: The file of each slice, in order of position, from the feet to the head.
        frames: Which frame of its file each slice is, and slope and intercept from what SimpleITK
            reads to what it holds; empty where every file is a slice.
        grid: Where the voxels (column, row, slice) are, RAS+.
    """

    uid: str
    patient: str
    modality: str
    paths: tuple[str, ...]
    frames: tuple[tuple[int, float, float], ...]
    grid: Grid

    @property
    def files(self) -> list[Path]:
        """The file of each slice, in order; the same for frames of one."""
        return [Path(path) for path in self.paths]

    @property
    def length(self) -> float:
        """Extent along the slice axis, mm."""
        return len(self.paths) * self.grid.spacing[2]


def arrange(slices: list[Slice]) -> Series:
    """Orders the slices of a series by position, and finds where its voxels are.

    Slices are ordered along the normal of their plane, from the feet to the head; file names and
    instance numbers play no part. DICOM's world is LPS, the grid's RAS+.

    Args:
        slices: At least two headers of one series, of files or of frames.

    Returns:
        The series.

    Raises:
        UnusableSeriesError: If a file holds colour, no position, or frames without theirs; if
            slices differ in patient, size, pixel spacing or orientation; if they are not axial
            (more than 25 degrees off), or not stacked along their normal (more than 1 degree off: a
            tilted gantry); if two are at one position, or one is more than a tenth of the slice
            spacing off the even grid between the first and the last; or if the grid is none of a
            scan (see :mod:`examples.covid3d.scans.grid_rules`).
    """
    first = slices[0]
    if len(slices) < 2 and first.size[2] == 1:
        raise UnusableSeriesError("1 slice; at least 2 are needed")
    if any(own.size[2] != 1 for own in slices):
        raise UnusableSeriesError(
            "several frames in a file, and no functional groups that say where each of them lies"
        )
    if any(own.samples != 1 for own in slices):
        raise UnusableSeriesError("colour images; grey values are expected")
    spacing, planes, positions = (
        _agreeing(slices, key, count)
        for key, count in (("spacing", 2), ("orientation", 6), ("position", 3))
    )
    for what, differ in (
        ("patients", len({own.patient for own in slices}) > 1),
        ("sizes", len({own.size for own in slices}) > 1),
        ("pixel spacings", np.ptp(spacing, axis=0).max() > _SAME),
        ("orientations", np.ptp(planes, axis=0).max() > _SAME),
    ):
        if differ:
            raise UnusableSeriesError(f"slices of different {what}; all must have the same")
    row, column = planes[0, :3], planes[0, 3:]
    gram = planes[0].reshape(2, 3) @ planes[0].reshape(2, 3).T
    if np.abs(gram - np.eye(2)).max() > 10 * _SAME or spacing[0].min() <= 0:
        raise UnusableSeriesError(
            "axes that are not perpendicular unit vectors, or no pixel spacing above 0 mm"
        )
    normal = np.cross(row, column)
    normal *= 1 if normal[2] >= 0 else -1
    if normal[2] < _AXIAL:
        raise UnusableSeriesError("not axial: more than 25 degrees off the body's long axis")
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    step = _step(positions, normal)
    lps = np.eye(4)
    lps[:3, 0] = row * spacing[0, 1]
    lps[:3, 1] = column * spacing[0, 0]
    lps[:3, 2] = step
    lps[:3, 3] = positions[0]
    grid = Grid((first.size[0], first.size[1], len(slices)), np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps)
    fault = grid_fault(grid)
    if fault is not None:
        raise UnusableSeriesError(f"{fault.found}; {fault.expected} are expected")
    stacked = [slices[index] for index in order]
    paths = tuple(str(own.path) for own in stacked)
    frames: tuple[tuple[int, float, float], ...] = ()
    if any(own.frame is not None for own in stacked):
        frames = tuple((own.frame or 0, *own.correction) for own in stacked)
    return Series(first.series, first.patient, first.modality, paths, frames, grid)


def _agreeing(slices: list[Slice], key: str, count: int) -> NDArray[np.float64]:
    """One of the headers' vectors, (slices, count), which all of them must have."""
    values = [getattr(own, key) for own in slices]
    if any(len(value) != count or not np.isfinite(value).all() for value in values):
        raise UnusableSeriesError(f"slices whose header has no {key} of {count} numbers")
    return np.asarray(values, dtype=np.float64)


def _step(positions: NDArray[np.float64], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """The vector (3,) from a slice to the next, mm, of sorted and evenly spaced positions."""
    steps = np.diff(positions @ normal)
    if steps.min() < 10 * _SAME:
        raise UnusableSeriesError(f"{int((steps < 10 * _SAME).sum()) + 1} slices at one position")
    step: NDArray[np.float64] = (positions[-1] - positions[0]) / len(steps)
    if step @ normal < _STRAIGHT * np.linalg.norm(step):
        angle = np.degrees(np.arccos(step @ normal / np.linalg.norm(step)))
        raise UnusableSeriesError(f"a gantry tilted by {angle:.0f} degrees; 1 at most is allowed")
    even = positions[0] + np.arange(len(positions))[:, None] * step
    if np.linalg.norm(positions - even, axis=1).max() > _OFF_GRID * np.linalg.norm(step):
        raise UnusableSeriesError(
            f"slices from {steps.min():.3g} to {steps.max():.3g} mm apart; even spacing is "
            f"expected (to {_OFF_GRID:.0%} of it): a slice is missing, or two scans are one series"
        )
    return step
