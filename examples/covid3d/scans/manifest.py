"""The manifest: one row for each prepared scan, with what was found in its file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.covid3d.common.errors import problem
from examples.covid3d.common.files import read_csv, write_csv
from examples.covid3d.scans.pseudonyms import HIDDEN, real_names
from examples.covid3d.scans.readers.scan import Scan

MANIFEST, REJECTED = "manifest.csv", "rejected.csv"


@dataclass(frozen=True)
class Entry:
    """One prepared scan.

    Attributes:
        name: Unique name.
        patient: Whose scan it is.
        source: Where it is from.
        dataset: ``data`` or ``unlabelled``, the option that named it.
        role: What it is for, where its dataset says so; else empty.
        image: Its file, or the folder of its DICOM series.
        mask: The file of its mask; empty if it has none.
        series: The series' UID where ``image`` is a DICOM folder; else empty.
        sha256: Checksum of its voxels and their positions.
        voxels_sha256: Checksum of its values alone, by which copies are found.
        shape: Voxels of the file along each axis.
        spacing: Voxel size of the file, mm.
        low: Lowest intensity of the file, HU for CT.
        high: Highest intensity.
        scale: ``HU``, ``0..255`` for a volume that was windowed already, or ``any``.
        foreground_ml: Volume of the foreground; empty without a mask.
        mask_sha256: Checksum of the mask's foreground on the scan's own grid; empty without a mask.
        labels: All that its mask may hold, where the dataset says so; else empty.
    """

    name: str
    patient: str
    source: str
    dataset: str
    role: str
    image: str
    mask: str
    series: str
    sha256: str
    voxels_sha256: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    low: float
    high: float
    scale: str
    foreground_ml: float | None
    mask_sha256: str = ""
    labels: tuple[int, ...] = ()

    @property
    def has_mask(self) -> bool:
        """Whether an expert's mask came with the scan."""
        return bool(self.mask)

    def scan(self, folder: Path) -> Scan:
        """The scan on disk; relative paths, as those of the phantoms, start from ``folder``.

        Raises:
            UserError: If paths are kept apart and the table of them is not there.
        """
        if self.image == HIDDEN:
            own = real_names(folder)[self.name]
            shown = dataclasses.replace(
                self, image=own["image"], mask=own["mask"], series=own["series"]
            )
            return shown.scan(folder)
        return Scan(
            self.name,
            self.patient,
            self.source,
            folder / self.image,
            folder / self.mask if self.mask else None,
            self.series or None,
            labels=self.labels,
        )

    def without_paths(self) -> Entry:
        """The entry of a scan under a pseudonym, whose paths are kept apart."""
        return dataclasses.replace(self, image=HIDDEN, mask=self.mask and HIDDEN, series="")

    def to_row(self) -> dict[str, str]:
        """As text, for CSV and JSON."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        row = {key: str(value) for key, value in values.items()}
        row["shape"] = " ".join(str(n) for n in self.shape)
        row["spacing"] = " ".join(f"{mm:.6g}" for mm in self.spacing)
        row["labels"] = " ".join(str(label) for label in self.labels)
        row["foreground_ml"] = "" if self.foreground_ml is None else f"{self.foreground_ml:.6g}"
        return row

    @staticmethod
    def from_row(row: Mapping[str, str]) -> Entry:
        """Reads back what :meth:`to_row` gave."""
        x, y, z = (int(n) for n in row["shape"].split())
        right, front, up = (float(mm) for mm in row["spacing"].split())
        ml = row["foreground_ml"]
        return Entry(
            **{key: row[key] for key in _TEXT},
            shape=(x, y, z),
            spacing=(right, front, up),
            low=float(row["low"]),
            high=float(row["high"]),
            foreground_ml=float(ml) if ml else None,
            labels=tuple(int(label) for label in row["labels"].split()),
        )


_TEXT = (
    "name", "patient", "source", "dataset", "role", "image", "mask", "series", "sha256",
    "voxels_sha256", "scale", "mask_sha256",
)  # fmt: skip


def write_manifest(folder: Path, entries: Sequence[Entry]) -> None:
    """Writes ``manifest.csv``."""
    write_csv(folder / MANIFEST, [entry.to_row() for entry in entries])


def patients_of(prepared: Path, entries: Sequence[Entry]) -> dict[str, str]:
    """Whose each scan really is, by its name in the manifest.

    Raises:
        UserError: If names are kept apart and the table of them is not there.
    """
    if not any(entry.image == HIDDEN for entry in entries):
        return {entry.name: entry.patient for entry in entries}
    names = real_names(prepared)
    return {entry.name: names[entry.name]["patient"] for entry in entries}


def read_manifest(folder: Path) -> list[Entry]:
    """Reads ``manifest.csv`` of the complete stage's ``folder``.

    Raises:
        UserError: If it is damaged.
    """
    entries = []
    for line, row in enumerate(read_csv(folder / MANIFEST), start=2):
        try:
            entries.append(Entry.from_row(row))
        except (KeyError, ValueError, AttributeError, TypeError) as error:
            raise problem(
                folder / MANIFEST,
                f"line {line} cannot be read",
                "the manifest as `prepare` wrote it",
                "run `prepare` again: it finds files that are cut short, and makes them anew",
            ) from error
    return entries
