"""What a reader finds: scans, and what it had to leave out."""

from __future__ import annotations

import dataclasses
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Scan:
    """One scan on disk.

    Attributes:
        name: Unique within its dataset; safe as a file name.
        patient: Whose scan it is.
        source: ``"benchmark"``, ``"challenge"``, ``"hospital"``, ``"nnunet"``, or what a CSV says.
        image: NIfTI file, or the folder of a DICOM series.
        mask: NIfTI file of the expert's labels; None where there is none.
        series: SeriesInstanceUID where ``image`` is a folder of DICOM files, else None.
        role: ``teacher``, ``trusted``, ``unlabelled`` or ``test`` where the dataset says so.
        labels: All that its mask may hold, where the dataset says so; else empty.
    """

    name: str
    patient: str
    source: str
    image: Path
    mask: Path | None
    series: str | None = None
    role: str | None = None
    labels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        # One system writes an accent as a character of its own, another does not.
        patient = unicodedata.normalize("NFC", self.patient).strip()
        object.__setattr__(self, "patient", patient)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            key: str(value) if isinstance(value, Path) else value
            for key, value in dataclasses.asdict(self).items()
        }

    @staticmethod
    def from_json(content: dict[str, Any]) -> Scan:
        """Reads back what :meth:`to_json` gave."""
        mask = content["mask"]
        return Scan(
            content["name"],
            content["patient"],
            content["source"],
            Path(content["image"]),
            None if mask is None else Path(mask),
            content.get("series"),
            content.get("role"),
            tuple(content.get("labels", ())),
        )


@dataclass(frozen=True)
class Rejected:
    """Something that looked like a scan and is none.

    Attributes:
        where: Path; with the series, where a folder holds several, or the line of a CSV.
        reason: What is wrong with it, on one line.
        spare: Whether no scan is lost with it, as with a localiser, or a copy.
    """

    where: str
    reason: str
    spare: bool = False


@dataclass(frozen=True)
class Found:
    """All that a reader found.

    Attributes:
        scans: Usable as far as names and headers tell, sorted by name; voxels are not read yet.
        rejected: What was left out, and why.
    """

    scans: list[Scan]
    rejected: list[Rejected]
