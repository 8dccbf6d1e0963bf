"""Patients of every role and kind, written in the Benchmark's folder layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from examples.covid3d.common.files import write_nifti
from examples.covid3d.scans.patients import ROLES
from examples.covid3d.scans.phantoms.anatomy import deflated, draw_chest
from examples.covid3d.scans.phantoms.fields import new_canvas
from examples.covid3d.scans.phantoms.kinds import SHARES, Kind, deal
from examples.covid3d.scans.phantoms.lesions import add_atelectasis, add_lesions
from examples.covid3d.scans.phantoms.scanner import USUAL, breathe, scan

IMAGES, MASKS = "COVID-19-CT-Seg_20cases", "Infection_Mask"
EXTENT = (320.0, 256.0, 208.0)
"""Field of view, mm."""


@dataclass(frozen=True)
class Patient:
    """One phantom to draw: its scan's name, role and kind."""

    name: str
    role: str
    kind: Kind

    @property
    def source(self) -> str:
        """Which scanner it is of, in words."""
        return f"phantoms of {'the usual' if self.kind.scanner is USUAL else 'another'} scanner"


def plan_cohort(counts: tuple[int, int, int, int]) -> list[Patient]:
    """Plans who is scanned how, each role by its :data:`SHARES`.

    Args:
        counts: Patients for the teacher, trusted, unlabelled and test roles.

    Returns:
        Patients. Those whom experts annotate are named ``expert_01`` and so on, the unlabelled ones
        after their kind, ``motion_01``.
    """
    patients: list[Patient] = []
    for role, count in zip(ROLES, counts, strict=True):
        for kind in deal(SHARES[role], count):
            word = kind.name if role == "unlabelled" else "expert"
            number = 1 + sum(patient.name.startswith(word) for patient in patients)
            patients.append(Patient(f"{word}_{number:02d}", role, kind))
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
    kind, scanner = patient.kind, patient.kind.scanner
    chest = draw_chest(rng, canvas)
    if kind.deflated:
        chest = deflated(chest, kind.deflated)
    if rng.random() < kind.atelectasis:
        chest = add_atelectasis(rng, canvas, chest)
    count = 0 if kind.healthy else int(rng.integers(3, 9))
    hu, mask = add_lesions(rng, canvas, chest, count, faintness=rng.uniform(0.0, 0.7))
    if kind.breathing:
        hu, mask = breathe(hu, chest.lungs, mask, kind.breathing / spacing)
    hu, mask = scan(rng, hu, mask, scanner)
    affine = np.diag([spacing, spacing, spacing * scanner.slices, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(hu.shape) - 1) / 2)
    if scanner.flipped:
        hu, mask = hu[::-1, ::-1], mask[::-1, ::-1]
        affine[:2] *= -1
    write_nifti(folder / IMAGES / f"{patient.name}.nii.gz", hu.astype(np.int16), affine)
    write_nifti(folder / MASKS / f"{patient.name}.nii.gz", mask.astype(np.uint8), affine)
