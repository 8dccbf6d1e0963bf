"""Stage ``prepare``: every scan on the working grid, windowed, in RAS+ orientation."""

from __future__ import annotations

import dataclasses
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import UserError, problem
from examples.covid3d.common.files import link_tree, read_json, write_csv
from examples.covid3d.scans.cohort_checks import check_foreground, check_sample, sample
from examples.covid3d.scans.geometry import Grid, resample, with_spacing
from examples.covid3d.scans.grid_rules import working_fault
from examples.covid3d.scans.intensity import normalise
from examples.covid3d.scans.manifest import REJECTED, Entry, write_manifest
from examples.covid3d.scans.nifti import load_mask
from examples.covid3d.scans.readers.scan import Rejected, Scan
from examples.covid3d.scans.sources import find_scans
from examples.covid3d.scans.store import RECORD, folder_of, write_scan
from examples.covid3d.scans.volumes import checksum_of, grid_of, load_scan, voxels_checksum

# A scan in work takes several copies of some hundred megabytes.
_MOST_THREADS = 4
# Of what is written of a scan; another makes all anew.
_VERSION = 2


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


def prepare_mask(scan: Scan, grids: dict[str, Grid], config: Config) -> NDArray[np.uint8]:
    """Loads a scan's mask and brings it to the working grid, by nearest neighbour.

    Raises:
        UserError: If the mask is unusable, not on its scan's grid (see :func:`load_mask`), or
            covers all of the scan.
    """
    own, grid = grids["own_grid"], grids["grid"]
    if scan.mask is None:
        raise ValueError(f"{scan.name} has no mask")
    mask = load_mask(scan.mask, scan.image, own, foreground=config.foreground_labels)
    if mask.all():
        raise problem(
            scan.mask,
            "a mask that covers the whole scan",
            "background, labelled 0, around what is drawn",
            "draw it anew, or give other --foreground-labels",
        )
    labels = torch.from_numpy(mask).float()
    return resample(labels, own, grid, "nearest").numpy().astype(np.uint8)


def prepare(config: Config, folder: Path, previous: Path) -> None:
    """Prepares every scan, several at a time, and reads each once.

    Writes ``manifest.csv``, ``rejected.csv`` (what is unusable, and why) and a folder for each
    scan under ``scans/``.

    Args:
        config: Settings.
        folder: Where to write. Scans that an interrupted attempt left there are not read again.
        previous: The stage as it was complete before; scans of it that would come out the same,
            by the settings and by their files' sizes and times, are linked.

    Raises:
        UserError: If no scan is usable, or the settings fit none or few of them.
    """
    found, rejected = find_scans(config, folder)
    if not (folder / "scans").exists():
        check_sample(sample([located(scan, folder) for _, scan in found]), config)
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    entries: list[Entry] = []
    bar = tqdm(total=len(found), desc="prepare", unit="scan")
    with bar, ThreadPoolExecutor(threads) as pool:
        jobs = [
            pool.submit(_prepare_one, dataset, scan, config, folder, previous)
            for dataset, scan in found
        ]
        try:
            for job in jobs:
                done = job.result()
                if isinstance(done, Entry):
                    entries.append(done)
                else:
                    rejected.append(done)
                bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    check_foreground(entries, config)
    kept, copies = _without_copies(entries)
    rejected += copies
    if not kept:
        raise problem(
            config.data or "data",
            f"none of {len(found)} scans is usable; the first: {rejected[0].reason}",
            "readable scans",
            "mend the files",
        )
    for one in rejected:
        tqdm.write(f"rejected: {one.where}: {one.reason}")
    write_csv(folder / REJECTED, [dataclasses.asdict(one) for one in rejected])
    write_manifest(folder, kept)


def located(scan: Scan, folder: Path) -> Scan:
    """The scan with paths that begin in ``folder`` where they are relative, as phantoms' are."""
    mask = folder / scan.mask if scan.mask is not None else None
    return dataclasses.replace(scan, image=folder / scan.image, mask=mask)


def _prepare_one(
    dataset: str, scan: Scan, config: Config, folder: Path, previous: Path
) -> Entry | Rejected:
    here = located(scan, folder)
    target = folder_of(folder, scan.name)
    try:
        key = scan_key(here, config)
        old = folder_of(previous, scan.name)
        if not target.exists() and _record(old).get("key") == key:
            link_tree(old, target)
        if _record(target).get("key") != key:
            _write(here, config, target, key)
    except (UserError, OSError) as error:
        return Rejected(str(scan.image), " ".join(str(error).split()))
    # Who and what for may change without a change of the files.
    return Entry.from_row(
        _record(target)["row"]
        | {"name": scan.name, "patient": scan.patient, "source": scan.source, "dataset": dataset}
        | {"role": scan.role or "", "image": str(scan.image), "series": scan.series or ""}
        | {"mask": str(scan.mask) if scan.mask is not None else ""}
    )


def _write(scan: Scan, config: Config, target: Path, key: dict[str, Any]) -> None:
    image, grids, found = prepare_image(scan, config)
    mask = prepare_mask(scan, grids, config) if scan.mask is not None else None
    voxel_ml = float(np.prod(grids["grid"].spacing)) / 1000
    entry = Entry(
        name=scan.name,
        patient=scan.patient,
        source=scan.source,
        dataset="",
        role="",
        image="",
        mask="",
        series="",
        foreground_ml=None if mask is None else float(mask.sum()) * voxel_ml,
        **found,
    )
    if target.exists():
        shutil.rmtree(target)
    write_scan(target, image, mask, grids, {"key": key, "row": entry.to_row()})


def scan_key(scan: Scan, config: Config) -> dict[str, Any]:
    """What a prepared scan depends on; with the same key it need not be prepared again."""
    files = sorted(scan.image.rglob("*")) if scan.image.is_dir() else [scan.image]
    files += [scan.mask] if scan.mask is not None else []
    states = [(path.name, path.stat()) for path in files]
    return {
        "version": _VERSION,
        "files": [[name, state.st_size, state.st_mtime_ns] for name, state in states],
        "series": scan.series or "",
        "spacing": list(config.spacing),
        "intensity": config.intensity,
        "window": list(config.window),
        "foreground": list(config.foreground_labels),
    }


def _record(target: Path) -> dict[str, Any]:
    path = target / RECORD
    return read_json(path) if path.is_file() else {}


def _without_copies(entries: list[Entry]) -> tuple[list[Entry], list[Rejected]]:
    """Sorts out copies: the same voxels under two names could be on both sides of a split.

    Voxels alone are compared: a copy that was moved, turned or mirrored is one.
    """
    kept: dict[str, Entry] = {}
    copies = []
    for entry in entries:
        first = kept.setdefault(entry.voxels_sha256, entry)
        if first is not entry:
            where = "" if first.sha256 == entry.sha256 else ", though placed otherwise in the world"
            copies.append(
                Rejected(entry.image, f"the same voxels as {first.name} ({first.image}){where}")
            )
    return list(kept.values()), copies
