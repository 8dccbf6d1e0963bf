"""Stage ``prepare``: every scan on the working grid, windowed, in RAS+ orientation."""

from __future__ import annotations

import dataclasses
import errno
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
from examples.covid3d.common.faults import read_through
from examples.covid3d.common.files import link_tree, read_json, write_csv, write_json
from examples.covid3d.scans.cohort_checks import (
    check_foreground,
    check_modality,
    check_sample,
    sample,
)
from examples.covid3d.scans.contents import digest_of, files_of_scan, look_of, settings_of_scan
from examples.covid3d.scans.geometry import Grid, resample, with_spacing
from examples.covid3d.scans.grid_rules import working_fault
from examples.covid3d.scans.intensity import normalise
from examples.covid3d.scans.manifest import REJECTED, Entry, write_manifest
from examples.covid3d.scans.nifti import load_mask
from examples.covid3d.scans.pseudonyms import Pseudonyms, private_folder
from examples.covid3d.scans.readers.scan import Rejected, Scan
from examples.covid3d.scans.rejecting import (
    check_reachable,
    report_rejected,
    stop_for,
    write_failed,
)
from examples.covid3d.scans.sources import find_scans
from examples.covid3d.scans.store import RECORD, folder_of, is_whole, write_scan
from examples.covid3d.scans.volumes import (
    checksum_of,
    checksum_of_mask,
    grid_of,
    load_scan,
    voxels_checksum,
)

# A scan in work takes several copies of some hundred megabytes.
_MOST_THREADS = 4


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


def prepare_mask(scan: Scan, grids: dict[str, Grid], config: Config) -> NDArray[np.uint8]:
    """Loads a scan's mask and brings it to the working grid (see :func:`own_mask`)."""
    return on_grid(own_mask(scan, grids["own_grid"], config), grids)


def prepare(config: Config, folder: Path, previous: Path) -> None:
    """Prepares every scan, several at a time, and reads each once.

    Writes ``manifest.csv``, ``rejected.csv`` (what is unusable, and why) and a folder for each
    scan under ``scans/``; with ``config.pseudonyms``, names and paths are kept apart. Only a fault
    of a scan's own files rejects it; a disk that is full or does not answer stops the preparation.

    Args:
        config: Settings.
        folder: Where to write. Scans that an interrupted attempt left there are not read again.
        previous: The stage as it was complete before; scans of it that would come out the same,
            by the settings and by their files' sizes and times or else by their bytes, are linked.

    Raises:
        UserError: If no scan is usable, the settings fit few of them, or more are rejected than
            ``config.max_rejected`` allows.
        OSError: If reading or writing fails for no fault of a scan's own.
    """
    found, rejected = find_scans(config, folder)
    hidden = None
    if config.pseudonyms and config.data is not None:
        hidden = Pseudonyms(private_folder(folder))
        found = hidden.rename(found)
    if not (folder / "scans").exists():
        check_sample(sample([located(scan, folder) for _, scan in found]), config)
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    entries: list[Entry] = []
    failed: list[tuple[str, Scan]] = []
    bar = tqdm(total=len(found), desc="prepare", unit="scan")
    with bar, ThreadPoolExecutor(threads) as pool:
        jobs = [
            pool.submit(_prepare_one, dataset, scan, config, folder, previous)
            for dataset, scan in found
        ]
        try:
            for job, named in zip(jobs, found, strict=True):
                done = job.result()
                if isinstance(done, Entry):
                    entries.append(done)
                else:
                    rejected.append(done)
                    failed.append(named)
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
    listed = rejected
    if hidden is not None:
        roots = [path for path in (config.data, config.unlabelled) if path is not None]
        listed = hidden.hide(rejected, roots)
    write_csv(folder / REJECTED, [{"where": one.where, "reason": one.reason} for one in listed])
    write_failed(folder if hidden is None else private_folder(folder), failed)
    report_rejected(rejected, len(kept), config, folder)
    write_manifest(folder, kept if hidden is None else [entry.without_paths() for entry in kept])


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
        _fill(here, config, target, folder_of(previous, scan.name))
    except (UserError, OSError) as error:
        stop_for(error)
        # A library may have called a disk that did not answer for a moment a damaged file.
        read_through(files_of_scan(here))
        check_reachable(config)
        try:
            _fill(here, config, target, folder_of(previous, scan.name))
        except (UserError, OSError) as again:
            stop_for(again)
            return Rejected(str(scan.image), " ".join(str(again).split()))
    # Who and what for may change without a change of the files.
    return Entry.from_row(
        _record(target)["row"]
        | {"name": scan.name, "patient": scan.patient, "source": scan.source, "dataset": dataset}
        | {"role": scan.role or "", "image": str(scan.image), "series": scan.series or ""}
        | {"mask": str(scan.mask) if scan.mask is not None else ""}
        | {"labels": " ".join(str(label) for label in scan.labels)}
    )


def can_be_prepared_now(scan: Scan, config: Config, folder: Path) -> bool:
    """Whether a scan that was rejected is usable after all.

    Raises:
        OSError: If reading fails for no fault of its own.
    """
    here = located(scan, folder)
    try:
        _, grids, _ = prepare_image(here, config)
        if here.mask is not None:
            own_mask(here, grids["own_grid"], config)
    except (UserError, OSError) as error:
        stop_for(error)
        return False
    return True


def _fill(scan: Scan, config: Config, target: Path, old: Path) -> None:
    """Writes a prepared scan, unless the old one, or what an attempt left, would be the same."""
    settings, look = settings_of_scan(scan, config), look_of(scan)
    contents = ""
    for place in (target, old):
        key = _record(place).get("key", {})
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
            write_json(target / RECORD, _record(target) | {"key": key | {"look": look}})
        return
    _write(scan, config, target, {"settings": settings, "look": look})


def _write(scan: Scan, config: Config, target: Path, key: dict[str, Any]) -> None:
    image, grids, found = prepare_image(scan, config)
    voxel_ml = float(np.prod(grids["grid"].spacing)) / 1000
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
        foreground_ml=None if mask is None else float(mask.sum()) * voxel_ml,
        **found,
    )
    key = key | {"contents": digest_of(scan)}
    if look_of(scan) != key["look"]:
        raise OSError(errno.EBUSY, "changed while it was read", str(scan.image))
    if target.exists():
        shutil.rmtree(target)
    write_scan(target, image, mask, grids, {"key": key, "row": entry.to_row()})


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
            reason = f"the same voxels as {first.name} ({first.image}){where}"
            copies.append(Rejected(entry.image, reason, spare=True))
    return list(kept.values()), copies
