"""What a dataset would be taken for: headers of all its scans, voxels of some."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import UserError
from examples.covid3d.scans.cohort_checks import check_modality, sample
from examples.covid3d.scans.contents import files_of_scan
from examples.covid3d.scans.geometry import Grid, with_spacing
from examples.covid3d.scans.grid_rules import working_fault
from examples.covid3d.scans.intensity import ct_scale, normalise
from examples.covid3d.scans.nifti import check_mask_grid, foreground_of, load_labels
from examples.covid3d.scans.readers.scan import Scan
from examples.covid3d.scans.rejecting import stop_for
from examples.covid3d.scans.volumes import grid_of, load_scan, modality_of, voxels_checksum

# So much is read without being asked: seconds, not minutes.
_READ_UNASKED = 2**28
_MUCH_FOREGROUND = 0.5


@dataclass
class Look:
    """What was seen of one scan.

    Attributes:
        dataset: ``data`` or ``unlabelled``.
        scan: Which.
        modality: By its DICOM header; empty where there is none.
        shape: Voxels; empty if the header cannot be read.
        spacing: Voxel size, mm.
        working: Voxels on the working grid.
        low: Lowest intensity, if its voxels were read.
        high: Highest.
        scale: ``HU``, ``0..255``, or empty if it is no CT.
        shares: Share of the voxels of each label, if its mask was read.
        checksum: Of its values alone, if they were read.
        reason: Why it would be rejected; empty if it would not, as far as was read.
        warnings: What else is odd.
    """

    dataset: str
    scan: Scan
    modality: str = ""
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    working: tuple[int, ...] = ()
    low: float | None = None
    high: float | None = None
    scale: str = ""
    shares: dict[float, float] = field(default_factory=dict)
    checksum: str = ""
    reason: str = ""
    warnings: list[str] = field(default_factory=list)


def look_at(found: Sequence[tuple[str, Scan]], config: Config, *, every: bool) -> list[Look]:
    """Looks at scans as ``prepare`` would, and writes nothing.

    Args:
        found: Scans with the names of their datasets.
        config: Settings.
        every: Read the voxels of all; else of all if they are few megabytes, or of a sample.

    Returns:
        A look at each.

    Raises:
        OSError: If reading fails for no fault of a scan's own.
    """
    looks = [Look(dataset, scan) for dataset, scan in found]
    read = {id(scan) for scan in _to_read([scan for _, scan in found], every=every)}
    for look in tqdm(looks, desc="inspect", unit="scan", leave=False):
        try:
            grid = _look_at_headers(look, config)
            if id(look.scan) in read:
                _look_at_voxels(look, grid, config)
        except (UserError, OSError) as error:
            stop_for(error)
            # With what was expected: a shape alone does not say what is wrong with it.
            look.reason = " ".join(str(error).split("\n  To mend it:")[0].rstrip(".").split())
            look.reason = look.reason.removeprefix(f"{look.scan.image}: ")
    _mark_copies(looks)
    return looks


def _to_read(scans: Sequence[Scan], *, every: bool) -> list[Scan]:
    total = 0
    for scan in scans if not every else ():
        try:
            total += sum(path.stat().st_size for path in files_of_scan(scan))
        except OSError:
            continue
    return list(scans) if total <= _READ_UNASKED else sample(scans)


def _look_at_headers(look: Look, config: Config) -> Grid:
    scan = look.scan
    look.modality = modality_of(scan)
    grid = grid_of(scan)
    look.shape, look.spacing = grid.shape, grid.spacing
    fault = working_fault(grid, config.spacing)
    if fault is not None:
        raise fault.error(scan.image)
    look.working = with_spacing(grid, config.spacing).shape
    check_modality(scan, config)
    if scan.mask is not None:
        check_mask_grid(scan.mask, scan.image, grid)
    return grid


def _look_at_voxels(look: Look, grid: Grid, config: Config) -> None:
    scan = look.scan
    volume, _ = load_scan(scan)
    look.low, look.high = float(volume.min()), float(volume.max())
    look.scale = ct_scale(look.low, look.high) or ""
    look.checksum = voxels_checksum(volume)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        normalise(volume, config.intensity, config.window, scan.image)
    if caught:
        look.warnings.append("in 0..255, taken as windowed already")
    if scan.mask is None:
        return
    labels = load_labels(scan.mask, scan.image, grid)
    values, counts = np.unique(labels, return_counts=True)
    look.shares = {
        float(value): int(count) / labels.size for value, count in zip(values, counts, strict=True)
    }
    share = float(foreground_of(labels, scan.mask, config.foreground_labels, scan.labels).mean())
    if share == 1:
        look.reason = "a mask that covers the whole scan"
    elif share == 0:
        look.warnings.append("no foreground in its mask")
    elif share > _MUCH_FOREGROUND:
        look.warnings.append(f"{share:.0%} of it are foreground")


def _mark_copies(looks: Sequence[Look]) -> None:
    first: dict[str, str] = {}
    for look in looks:
        if look.checksum and not look.reason:
            name = first.setdefault(look.checksum, look.scan.name)
            if name != look.scan.name:
                look.reason = f"the same voxels as {name}"
