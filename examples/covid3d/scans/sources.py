"""Finds the scans of a run: the datasets that the options name, or phantoms."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from tqdm import tqdm

from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import problem
from examples.covid3d.scans.patient_table import read_patients, with_patients
from examples.covid3d.scans.phantoms.cohort import IMAGES, MASKS, plan_cohort, write_patient
from examples.covid3d.scans.readers import guess_kind, read_dataset
from examples.covid3d.scans.readers.listing import folders_below
from examples.covid3d.scans.readers.scan import Rejected, Scan

Named = tuple[str, Scan]
"""A dataset's name, ``data`` or ``unlabelled``, and one of its scans."""


def read_sources(config: Config) -> tuple[list[Named], list[Rejected]]:
    """Reads the datasets that the settings name; nothing where phantoms are to be drawn.

    Raises:
        UserError: If a folder is missing or of another layout, two scans have one name, or the
            table of patients does not fit.
    """
    if config.data is None:
        return [], []
    read = [
        (dataset, read_dataset(kind or guess_kind(Path(path)) or "hospital", Path(path)))
        for dataset, path, kind in (
            ("data", config.data, config.kind),
            ("unlabelled", config.unlabelled, config.unlabelled_kind),
        )
        if path is not None
    ]
    rejected = [one for _, own in read for one in own.rejected]
    found = [(dataset, scan) for dataset, own in read for scan in own.scans]
    if config.patients is not None:
        table = Path(config.patients)
        left_out = [one.where for one in rejected]
        scans = with_patients([scan for _, scan in found], read_patients(table), left_out, table)
        found = [(dataset, scan) for (dataset, _), scan in zip(found, scans, strict=True)]
    found = [
        (dataset, scan)
        for dataset in dict.fromkeys(dataset for dataset, _ in found)
        for scan in _limited([scan for of, scan in found if of == dataset], config)
    ]
    names = [scan.name for _, scan in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise problem(
            config.unlabelled or config.data,
            f"scans that are there twice, or in --data too: {', '.join(twice[:5])}",
            "other scans, for a scan must not have two roles",
            "remove or rename them",
        )
    return found, rejected


def find_scans(config: Config, folder: Path) -> tuple[list[Named], list[Rejected]]:
    """The user's scans, or phantoms drawn into ``folder``, their paths relative to it."""
    if config.data is None:
        return [("data", scan) for scan in _draw_phantoms(config, folder)], []
    return read_sources(config)


def _limited(scans: list[Scan], config: Config) -> list[Scan]:
    """At most ``limit`` patients, drawn at random but the same ones each time."""
    patients = sorted({scan.patient for scan in scans})
    if config.limit is None or len(patients) <= config.limit:
        return scans
    chosen = np.random.default_rng(0).permutation(len(patients))[: config.limit]
    kept = {patients[i] for i in chosen}
    return [scan for scan in scans if scan.patient in kept]


def _draw_phantoms(config: Config, folder: Path) -> list[Scan]:
    scans = []
    patients = plan_cohort(config.phantoms)
    for index, patient in enumerate(tqdm(patients, desc="draw phantoms", unit="scan")):
        image, mask = (Path("phantoms", kind, f"{patient.name}.nii.gz") for kind in (IMAGES, MASKS))
        # The mask is written last.
        if not (folder / mask).exists():
            write_patient(
                folder / "phantoms", patient, index, config.phantom_seed, config.phantom_spacing
            )
        scan = Scan(patient.name, patient.name, patient.source, image, mask)
        scans.append(dataclasses.replace(scan, role=patient.role))
    return scans


def listing(config: Config) -> list[tuple[str, int, int]]:
    """Names, sizes and times of all files of the datasets, to notice changed data.

    Through links, to files and to folders, and without hidden files, which no reader looks at.
    """
    found = []
    for name in (config.data, config.unlabelled):
        if name is None:
            continue
        root = Path(name)
        for path in _paths_of(root):
            try:
                state = path.stat()
            except FileNotFoundError:
                # A link to nowhere.
                continue
            shown = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
            found.append((shown, state.st_size, state.st_mtime_ns))
    if config.patients is not None and Path(config.patients).is_file():
        state = Path(config.patients).stat()
        found.append(("patients", state.st_size, state.st_mtime_ns))
    return found


def _paths_of(dataset: Path) -> list[Path]:
    if not dataset.is_file():
        return [path for _, files in folders_below(dataset) for path in files]
    # A CSV names files that may lie anywhere.
    scans = read_dataset("csv", dataset).scans
    return [dataset, *(path for scan in scans for path in (scan.image, scan.mask) if path)]
