"""Which scans there are, where their files lie, and what each is for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.covid3d.config import Config
from examples.covid3d.errors import problem
from examples.covid3d.patients import patient_of, split_by_patient

IMAGES, MASKS = "COVID-19-CT-Seg_20cases", "Infection_Mask"
"""Folders of the COVID-19-CT-Seg Benchmark."""


@dataclass(frozen=True)
class Source:
    """One scan on disk.

    Attributes:
        name: Unique name.
        patient: Whose scan it is.
        role: ``teacher``, ``trusted``, ``unlabelled`` or ``test``.
        image: NIfTI file of the scan.
        mask: NIfTI file of the expert's mask; None if there is none, in the unlabelled role only.
    """

    name: str
    patient: str
    role: str
    image: Path
    mask: Path | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            key: str(value) if isinstance(value, Path) else value
            for key, value in dataclasses.asdict(self).items()
        }

    @staticmethod
    def from_json(content: dict[str, Any]) -> Source:
        """Reads back what :meth:`to_json` gave."""
        mask = content["mask"]
        return Source(
            content["name"],
            content["patient"],
            content["role"],
            Path(content["image"]),
            Path(mask) if mask is not None else None,
        )


def _volumes(folder: Path) -> dict[str, Path]:
    """NIfTI files of a folder by name without suffix."""
    if not folder.is_dir():
        raise problem(
            folder,
            "no such folder",
            f"the Benchmark's layout, {IMAGES}/NAME.nii.gz and {MASKS}/NAME.nii.gz",
            "check the path, or rename the folders",
        )
    files = sorted(folder.glob("*.nii.gz")) + sorted(folder.glob("*.nii"))
    return {path.name.removesuffix(".gz").removesuffix(".nii"): path.resolve() for path in files}


def find_benchmark(
    folder: Path, shares: tuple[float, float, float, float], seed: int
) -> list[Source]:
    """Finds the scans of a folder in the Benchmark's layout and deals them out by patient.

    Args:
        folder: Holds ``COVID-19-CT-Seg_20cases/NAME.nii.gz`` and ``Infection_Mask/NAME.nii.gz``.
        shares: Shares of the patients for the teacher, trusted, unlabelled and test roles.
        seed: Seed of the deal.

    Returns:
        Sources by name.

    Raises:
        UserError: If a folder is missing or empty, a scan has no mask or a mask no scan, or there
            are too few patients.
    """
    images, masks = _volumes(folder / IMAGES), _volumes(folder / MASKS)
    if not images:
        raise problem(
            folder / IMAGES, "no .nii or .nii.gz file", "one per scan", "put the scans there"
        )
    unpaired = sorted(set(images) ^ set(masks))
    if unpaired:
        raise problem(
            folder,
            f"no pair of scan and mask for {', '.join(unpaired[:5])}",
            f"the same file name in {IMAGES} and {MASKS}",
            "add the missing files; scans without a mask go into the folder for --unlabelled",
        )
    roles = split_by_patient(list(images), shares, seed)
    return [
        Source(name, patient_of(name), roles[name], images[name], masks[name]) for name in images
    ]


def find_unlabelled(folder: Path) -> list[Source]:
    """Finds scans that have no mask, every NIfTI file of a folder.

    Raises:
        UserError: If the folder is missing or empty.
    """
    images = _volumes(folder)
    if not images:
        raise problem(folder, "no .nii or .nii.gz file", "scans without masks", "check the path")
    return [
        Source(name, patient_of(name), "unlabelled", path, None) for name, path in images.items()
    ]


def find_sources(config: Config) -> list[Source]:
    """Finds the user's scans and splits them by patient; empty where phantoms are to be drawn.

    Raises:
        UserError: If a folder is missing or of another layout, or a scan would be in two roles.
    """
    if config.benchmark is None:
        return []
    teacher, trusted, unlabelled, test = config.shares
    extra = find_unlabelled(Path(config.unlabelled)) if config.unlabelled is not None else []
    # With a folder of unlabelled scans, no annotated scan is spent on that role.
    shares = (teacher, trusted, 0.0 if extra else unlabelled, test)
    found = find_benchmark(Path(config.benchmark), shares, config.seed)
    twice = sorted({source.name for source in found} & {source.name for source in extra})
    if twice:
        raise problem(
            config.unlabelled or "",
            f"scans that --benchmark has too: {', '.join(twice[:5])}",
            "other scans, for a scan must not be in two roles",
            "remove or rename them",
        )
    return found + extra


def listing(*folders: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and modification times of all NIfTI files below, to notice changed data."""
    found = []
    for folder in folders:
        for path in sorted(folder.rglob("*.nii*")):
            status = path.stat()
            found.append((str(path), status.st_size, status.st_mtime_ns))
    return found
