"""Manifest entries for tests that need no files."""

from __future__ import annotations

from examples.covid3d.scans.manifest import Entry
from examples.covid3d.scans.patients import patient_of


def entry(name: str, patient: str | None = None, *, dataset="data", mask=True, role="") -> Entry:
    return Entry(
        name=name,
        patient=patient or patient_of(name),
        source="test",
        dataset=dataset,
        role=role,
        image=f"{name}.nii.gz",
        mask=f"{name}_mask.nii.gz" if mask else "",
        series="",
        sha256=name,
        voxels_sha256=name,
        shape=(9, 8, 7),
        spacing=(1.0, 2.0, 3.5),
        low=-1024.0,
        high=3071.0,
        scale="HU",
        foreground_ml=1.25 if mask else None,
    )


def cohort(patients: int, unlabelled: int = 0, scans: int = 1) -> list[Entry]:
    """Annotated patients of one or more scans each, and scans of others without masks."""
    return [entry(f"s{p}_{i}", f"p{p}") for p in range(patients) for i in range(scans)] + [
        entry(f"u{i}", dataset="unlabelled", mask=False) for i in range(unlabelled)
    ]
