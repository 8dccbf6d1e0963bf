"""The patients of two hospitals, written in the Benchmark's folder layout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from examples.covid3d.common.files import write_nifti
from examples.covid3d.scans.patients import ROLES
from examples.covid3d.scans.phantoms.anatomy import draw_chest
from examples.covid3d.scans.phantoms.fields import new_canvas
from examples.covid3d.scans.phantoms.lesions import add_atelectasis, add_lesions
from examples.covid3d.scans.phantoms.scanner import EXPERT, HOSPITAL, Scanner, scan

IMAGES, MASKS = "COVID-19-CT-Seg_20cases", "Infection_Mask"
EXTENT = (320.0, 256.0, 208.0)
"""Field of view, mm."""


@dataclass(frozen=True)
class Patient:
    """One phantom to draw: its scan's name, role and scanner, and whether it has no lesion."""

    name: str
    role: str
    scanner: Scanner
    healthy: bool


def plan_cohort(counts: tuple[int, int, int, int]) -> list[Patient]:
    """Plans who is scanned where.

    Args:
        counts: Patients for the teacher, trusted, unlabelled and test roles.

    Returns:
        Patients. Experts annotate scans of their own scanner; the unlabelled scans come from the
        other hospital, and so does every second test scan. Every third patient has no lesion.
    """
    patients = []
    seen = {EXPERT: 0, HOSPITAL: 0}
    for role, count in zip(ROLES, counts, strict=True):
        for index in range(count):
            elsewhere = role == "unlabelled" or (role == "test" and index % 2 == 1)
            scanner = HOSPITAL if elsewhere else EXPERT
            seen[scanner] += 1
            name = f"{'hospital' if elsewhere else 'expert'}_{seen[scanner]:02d}"
            patients.append(Patient(name, role, scanner, healthy=index % 3 == 2))
    return patients


def write_patient(folder: Path, patient: Patient, index: int, seed: int, spacing: float) -> None:
    """Draws, scans and writes one phantom with its true mask.

    Args:
        folder: Data folder, the Benchmark's layout inside.
        patient: Who.
        index: Position in the cohort; with ``seed`` it fixes the patient's random stream.
        seed: Seed of the cohort.
        spacing: Voxel size of the phantom, mm.
    """
    rng = np.random.default_rng([seed, 1000, index])
    canvas = new_canvas(EXTENT, spacing)
    chest = draw_chest(rng, canvas)
    hospital = patient.scanner is HOSPITAL
    if rng.random() < (0.6 if hospital else 0.2):
        chest = add_atelectasis(rng, canvas, chest)
    count = 0 if patient.healthy else int(rng.integers(3, 9))
    faintness = rng.uniform(0.2, 1.0) if hospital else rng.uniform(0.0, 0.7)
    hu, mask = add_lesions(rng, canvas, chest, count, faintness)
    hu, mask = scan(rng, hu, mask, patient.scanner)
    affine = np.diag([spacing, spacing, spacing * patient.scanner.slices, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(hu.shape) - 1) / 2)
    if patient.scanner.flipped:
        hu, mask = hu[::-1, ::-1], mask[::-1, ::-1]
        affine[:2] *= -1
    write_nifti(folder / IMAGES / f"{patient.name}.nii.gz", hu.astype(np.int16), affine)
    write_nifti(folder / MASKS / f"{patient.name}.nii.gz", mask.astype(np.uint8), affine)


def write_cohort(
    folder: Path, counts: tuple[int, int, int, int], seed: int, spacing: float
) -> Iterator[Patient]:
    """Writes a cohort, yielding each patient when it is written."""
    for index, patient in enumerate(plan_cohort(counts)):
        write_patient(folder, patient, index, seed, spacing)
        yield patient
