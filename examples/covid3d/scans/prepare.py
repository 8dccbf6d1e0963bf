"""Stage ``prepare``: every scan on the working grid, windowed, in RAS+ orientation."""

from __future__ import annotations

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import UserError, problem
from examples.covid3d.common.faults import read_through
from examples.covid3d.common.files import write_csv
from examples.covid3d.scans.cohort_checks import (
    check_foreground,
    check_sample,
    sample,
)
from examples.covid3d.scans.contents import files_of_scan
from examples.covid3d.scans.manifest import REJECTED, Entry, write_manifest
from examples.covid3d.scans.prepare_scan import fill, own_mask, prepare_image, record_of
from examples.covid3d.scans.pseudonyms import Pseudonyms, private_folder
from examples.covid3d.scans.readers.scan import Rejected, Scan
from examples.covid3d.scans.rejecting import (
    check_reachable,
    report_rejected,
    stop_for,
    write_failed,
)
from examples.covid3d.scans.sources import find_scans
from examples.covid3d.scans.store import folder_of

# A scan in work takes several copies of some hundred megabytes.
_MOST_THREADS = 4


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
        for dataset in dict.fromkeys(dataset for dataset, _ in found):
            own = [located(scan, folder) for of, scan in found if of == dataset]
            check_sample(sample(own), config)
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
        fill(here, config, target, folder_of(previous, scan.name))
    except (UserError, OSError) as error:
        stop_for(error)
        # A library may have called a disk that did not answer for a moment a damaged file.
        read_through(files_of_scan(here))
        check_reachable(config)
        try:
            fill(here, config, target, folder_of(previous, scan.name))
        except (UserError, OSError) as again:
            stop_for(again)
            return Rejected(str(scan.image), " ".join(str(again).split()))
    # Who and what for may change without a change of the files.
    return Entry.from_row(
        record_of(target)["row"]
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
