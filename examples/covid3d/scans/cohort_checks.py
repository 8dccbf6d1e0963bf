"""What is wrong with a whole folder, and so not with its scans but with an option."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import UserError, problem
from examples.covid3d.scans.grid_rules import working_fault
from examples.covid3d.scans.intensity import IntensityError, ct_scale
from examples.covid3d.scans.manifest import Entry
from examples.covid3d.scans.readers.scan import Scan
from examples.covid3d.scans.rejecting import stop_for
from examples.covid3d.scans.volumes import grid_of, load_scan, modality_of

_LOOKED_AT = 9
_CT = ("CT", "")


def check_modality(scan: Scan, config: Config) -> None:
    """Checks that a series whose header says so is not of another modality than CT.

    Raises:
        IntensityError: If it is, and ``intensity`` is ``ct``.
    """
    modality = modality_of(scan)
    if config.intensity == "ct" and modality not in _CT:
        raise IntensityError(
            problem(
                scan.image,
                f"modality {modality}",
                "CT, as --intensity ct takes the scans for",
                "leave it out, or pass --intensity zscore for all",
            )
        )


def sample(scans: Sequence[Scan], most: int = _LOOKED_AT) -> list[Scan]:
    """At most ``most`` of the scans, evenly spread over them, the same ones each time."""
    if len(scans) <= most:
        return list(scans)
    return [scans[i] for i in np.linspace(0, len(scans) - 1, most).round().astype(int)]


def check_sample(scans: Sequence[Scan], config: Config) -> None:
    """Looks at some scans before all are prepared: does the option fit most of them?

    What a single scan is at fault for is left to its own rejection.

    Raises:
        UserError: If ``spacing`` makes grids of most of them that are too large or too small, or
            ``intensity`` is ``ct`` and more cannot be CT than are.
    """
    usable, faults = [], []
    for scan in scans:
        try:
            own = grid_of(scan)
        except (UserError, OSError) as error:
            stop_for(error)
            continue
        usable.append(scan)
        fault = working_fault(own, config.spacing)
        if fault is not None:
            faults.append((scan, fault))
    if 2 * len(faults) > len(usable):
        scan, fault = faults[len(faults) // 2]
        raise problem(
            "--spacing",
            f"{len(faults)} of {len(usable)} scans looked at cannot be resampled so: {scan.name}, "
            f"{fault.found}",
            fault.expected,
            fault.remedy,
        )
    if config.intensity == "ct":
        _check_ct(usable)


def _check_ct(scans: Sequence[Scan]) -> None:
    odd: list[str] = []
    seen = in_hu = 0
    for scan in tqdm(scans, desc="look at", unit="scan", leave=False):
        if 2 * in_hu >= len(scans):
            # Whatever the others are, they are no more.
            return
        try:
            modality = modality_of(scan)
            volume, _ = load_scan(scan)
        except (UserError, OSError) as error:
            stop_for(error)
            continue
        seen += 1
        low, high = float(volume.min()), float(volume.max())
        scale = ct_scale(low, high)
        if modality not in _CT:
            odd.append(f"{scan.name} is {modality}")
        elif low < high and scale is None:
            odd.append(f"{scan.name} has values from {low:g} to {high:g}")
        in_hu += scale == "HU" and modality in _CT
    # That a volume lies in 0..255 is no sign of CT: a quarter of an MR set may.
    if 3 * len(odd) >= seen and len(odd) > in_hu:
        raise problem(
            "--intensity",
            f"ct, but {len(odd)} of {seen} scans looked at cannot be CT, and {in_hu} are in "
            f"Hounsfield units: {odd[0]}",
            "Hounsfield units, or volumes windowed to 0..255",
            "pass --intensity zscore for MR and other images than CT (or --intensity window "
            "--window LOW HIGH); CT in other units needs its rescale slope and intercept applied",
        )


def check_foreground(entries: Sequence[Entry], config: Config) -> None:
    """Refuses a cohort in whose masks nothing is drawn.

    Raises:
        UserError: If there are masks, and all are empty.
    """
    masked = [entry for entry in entries if entry.foreground_ml is not None]
    if masked and not any(entry.foreground_ml for entry in masked):
        raise problem(
            config.data or "data",
            f"no foreground in any of {len(masked)} masks",
            f"label {' or '.join(map(str, config.foreground_labels))} in some of them",
            "name the labels to find with --foreground-labels, or give other masks",
        )
