"""One scan, prepared: its image and mask on the working grid, and what was found in its files."""

from __future__ import annotations

import errno
import shutil
from contextlib import nullcontext
from math import prod
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import problem
from examples.covid3d.common.files import link_tree, read_json, write_json
from examples.covid3d.scans.cohort_checks import check_modality
from examples.covid3d.scans.contents import digest_of, look_of, settings_of_scan
from examples.covid3d.scans.geometry import Grid, resample, with_spacing
from examples.covid3d.scans.grid_rules import working_fault
from examples.covid3d.scans.intensity import normalise
from examples.covid3d.scans.manifest import Entry
from examples.covid3d.scans.nifti import load_mask
from examples.covid3d.scans.readers.scan import Scan
from examples.covid3d.scans.store import RECORD, is_whole, write_scan
from examples.covid3d.scans.volumes import (
    checksum_of,
    checksum_of_mask,
    grid_of,
    load_scan,
    voxels_checksum,
)

# Of scans with more voxels, half a gigabyte a copy, one is in work.
_LARGE = 2**27
_one_large = Lock()


def prepare_image(
    scan: Scan, config: Config
) -> tuple[NDArray[np.float32], dict[str, Grid], dict[str, Any]]:
    """Loads, windows and resamples one scan.

    Args:
        scan: Which.
        config: Settings.

    Returns:
        The image on the working grid (X, Y, Z); ``grid``, which is that, and ``own_grid``; and
        what was found in the file: its shape, spacing, checksums, ``low``, ``high`` and ``scale``.

    Raises:
        UserError: If the file is unusable (see :func:`load_scan`, :func:`normalise`), or the
            working grid would be (see :func:`working_fault`).
    """
    fault = working_fault(grid_of(scan), config.spacing)
    if fault is not None:
        raise fault.error(scan.image)
    check_modality(scan, config)
    volume, own_grid = load_scan(scan)
    unit, scale = normalise(volume, config.intensity, config.window, scan.image)
    grid = with_spacing(own_grid, config.spacing)
    image = resample(torch.from_numpy(unit), own_grid, grid, "linear")
    if config.intensity != "zscore":
        # Interpolation's rounding may leave the range by a hair.
        image = image.clamp(0, 1)
    found: dict[str, Any] = {"shape": own_grid.shape, "spacing": own_grid.spacing}
    found |= {"sha256": checksum_of(volume, own_grid), "voxels_sha256": voxels_checksum(volume)}
    found |= {"scale": scale, "low": float(volume.min()), "high": float(volume.max())}
    return image.numpy(), {"grid": grid, "own_grid": own_grid}, found


def own_mask(scan: Scan, own: Grid, config: Config) -> NDArray[np.uint8]:
    """Loads a scan's mask on the scan's own grid.

    Raises:
        UserError: If the mask is unusable, not on its scan's grid (see :func:`load_mask`), or
            covers all of the scan.
    """
    if scan.mask is None:
        raise ValueError(f"{scan.name} has no mask")
    mask = load_mask(scan.mask, scan.image, own, config.foreground_labels, scan.labels)
    if mask.all():
        raise problem(
            scan.mask,
            "a mask that covers the whole scan",
            "background, labelled 0, around what is drawn",
            "draw it anew, or give other --foreground-labels",
        )
    return mask


def on_grid(mask: NDArray[np.uint8], grids: dict[str, Grid]) -> NDArray[np.uint8]:
    """Brings a mask to the working grid, by nearest neighbour."""
    labels = torch.from_numpy(mask).float()
    return resample(labels, grids["own_grid"], grids["grid"], "nearest").numpy().astype(np.uint8)


def fill(scan: Scan, config: Config, target: Path, old: Path) -> None:
    """Writes a prepared scan, unless the old one, or what an attempt left, would be the same."""
    settings, look = settings_of_scan(scan, config), look_of(scan)
    contents = ""
    for place in (target, old):
        key = record_of(place).get("key", {})
        if key.get("settings") != settings or not is_whole(place):
            continue
        if key.get("look") != look:
            contents = contents or digest_of(scan)
            if key.get("contents") != contents:
                continue
        if place == old:
            if target.exists():
                shutil.rmtree(target)
            link_tree(old, target)
        if key["look"] != look:
            write_json(target / RECORD, record_of(target) | {"key": key | {"look": look}})
        return
    _write(scan, config, target, {"settings": settings, "look": look})


def _write(scan: Scan, config: Config, target: Path, key: dict[str, Any]) -> None:
    with _one_large if _is_large(scan, config) else nullcontext():
        _write_now(scan, config, target, key)


def _is_large(scan: Scan, config: Config) -> bool:
    own = grid_of(scan)
    return max(prod(own.shape), prod(with_spacing(own, config.spacing).shape)) > _LARGE


def _write_now(scan: Scan, config: Config, target: Path, key: dict[str, Any]) -> None:
    image, grids, found = prepare_image(scan, config)
    mask = None
    if scan.mask is not None:
        own = own_mask(scan, grids["own_grid"], config)
        mask = on_grid(own, grids)
        found["mask_sha256"] = checksum_of_mask(own)
    entry = Entry(
        name=scan.name,
        patient=scan.patient,
        source=scan.source,
        dataset="",
        role="",
        image="",
        mask="",
        series="",
        foreground_ml=None if mask is None else float(mask.sum()) * grids["grid"].voxel_ml,
        **found,
    )
    key = key | {"contents": digest_of(scan)}
    if look_of(scan) != key["look"]:
        raise OSError(errno.EBUSY, "changed while it was read", str(scan.image))
    if target.exists():
        shutil.rmtree(target)
    write_scan(target, image, mask, grids, {"key": key, "row": entry.to_row()})


def record_of(target: Path) -> dict[str, Any]:
    """What is noted of a prepared scan: of what it was made, and its row of the manifest."""
    path = target / RECORD
    return read_json(path) if path.is_file() else {}
