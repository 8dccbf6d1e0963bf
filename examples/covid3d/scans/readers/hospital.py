"""A hospital's scans without masks: DICOM series, a folder per scan, and NIfTI files."""

from __future__ import annotations

import dataclasses
import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from examples.covid3d.common.faults import passing_fault, read_through
from examples.covid3d.scans.patients import patient_of
from examples.covid3d.scans.readers.dicom_folder import Content, series_in
from examples.covid3d.scans.readers.dicom_stack import Series
from examples.covid3d.scans.readers.listing import folders_below, is_nifti, safe_names, stem_of
from examples.covid3d.scans.readers.scan import Found, Rejected, Scan

LAYOUT = "folders of DICOM files, a folder per scan, or NIfTI files, at any depth"
MIN_SLICES = 8
"""Fewer are a localiser, or nothing to learn a volume from."""

# All that nibabel lets through from a damaged file.
_UNREADABLE = (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error)
_MODALITIES = ("CT", "MR", "")
# Two reconstructions of one acquisition differ by less; a scan of half the chest by more.
_SAME_LENGTH = 0.95


@dataclass(frozen=True)
class _Candidate:
    """A scan before it has a name."""

    parts: tuple[str, ...]
    patient: str
    image: Path
    series: str | None


def read(folder: Path) -> Found:
    """Finds the scans of a hospital.

    Of the DICOM series in a folder, the longest axial one is the scan: CT before other modalities,
    then by length in mm, and among those within 5 % of the longest the one with most slices. It
    needs MIN_SLICES slices, and to be what
    :func:`~examples.covid3d.scans.readers.dicom_stack.arrange` takes: axial, evenly spaced (to a
    tenth of the spacing), of one size and pixel spacing. Headers alone are read.

    The patient is the PatientID of the DICOM header. Where it is empty, and for NIfTI files, it is
    the folder below ``folder`` that the scan lies in: the topmost one, because one patient's
    studies and series often have folders of their own. A NIfTI file directly in ``folder`` is a
    patient of its own; one beside a DICOM series is of the same patient.

    Args:
        folder: Searched at any depth.

    Returns:
        Scans without masks, named by their path below ``folder``. Rejected: every other series and
        every unreadable file, each with its reason.

    Raises:
        UserError: If there are DICOM files and SimpleITK is not installed.
    """
    folder = folder.absolute()
    found: list[_Candidate] = []
    rejected: list[Rejected] = []
    where_seen: dict[str, Path] = {}
    for place, files in folders_below(folder):
        parts = place.relative_to(folder).parts
        owner = parts[0] if parts else None
        series = _choose(place, series_in(place, files), rejected)
        if series is not None and series.uid and series.uid in where_seen:
            first = where_seen[series.uid]
            reason = f"the same series as in {first}"
            rejected.append(Rejected(_where(place, series.uid), reason, spare=True))
        elif series is not None:
            where_seen[series.uid] = place
            patient = series.patient or owner or folder.name
            found.append(_Candidate(parts or (folder.name,), patient, place, series.uid))
        for path in filter(is_nifti, files):
            unusable = _unusable_nifti(path)
            if unusable is not None:
                rejected.append(Rejected(str(path), unusable))
                continue
            known = series.patient if series is not None else ""
            patient = known or owner or patient_of(stem_of(path))
            found.append(_Candidate((*parts, stem_of(path)), patient, path, None))
    names = safe_names(
        [own.parts for own in found], [str(own.image.relative_to(folder)) for own in found]
    )
    scans = [
        Scan(name, own.patient, "hospital", own.image, None, own.series)
        for name, own in zip(names, found, strict=True)
    ]
    return Found(sorted(scans, key=lambda scan: scan.name), rejected)


def _where(place: Path, uid: str) -> str:
    return f"{place}, series {uid}"


def _choose(place: Path, content: Content, rejected: list[Rejected]) -> Series | None:
    """The longest axial series of a folder; what is left out is added to ``rejected``."""
    left = [Rejected(str(path), reason) for path, reason in content.unreadable]
    usable: list[Series] = []
    for uid, stack in content.stacks.items():
        reason = stack.reason
        if stack.modality not in _MODALITIES:
            reason = f"modality {stack.modality}; CT (or MR) is expected"
        if stack.count < MIN_SLICES:
            counted = f"{stack.count} slice{'' if stack.count == 1 else 's'}"
            reason = f"{counted}; at least {MIN_SLICES} are needed"
        if reason or stack.series is None:
            left.append(Rejected(_where(place, uid), reason))
        else:
            usable.append(stack.series)
    # Where one series is the scan, nothing is lost with localisers and reconstructions beside it.
    rejected += [dataclasses.replace(one, spare=bool(usable)) for one in left]
    if not usable:
        return None
    preferred = [series for series in usable if series.modality == "CT"] or usable
    longest = max(series.length for series in preferred)
    best = max(
        (series for series in preferred if series.length >= _SAME_LENGTH * longest),
        key=lambda series: (len(series.paths), series.uid),
    )
    rejected += [
        Rejected(
            _where(place, series.uid),
            f"not the longest axial series here; {best.uid} is",
            spare=True,
        )
        for series in usable
        if series is not best
    ]
    return best


def _shape(path: Path) -> tuple[int, ...]:
    try:
        return tuple(nibabel.load(path).shape)
    except _UNREADABLE:
        # nibabel takes a disk that does not answer for a file of no known type.
        read_through([path])
        return tuple(nibabel.load(path).shape)


def _unusable_nifti(path: Path) -> str | None:
    """What a NIfTI file's header says against it, or None."""
    try:
        shape = _shape(path)
    except _UNREADABLE as error:
        if passing_fault(error) is not None:
            raise
        return f"cannot be read ({' '.join(str(error).split())})"
    if len(shape) == 4 and shape[3] == 1:
        shape = shape[:3]
    if len(shape) != 3:
        return f"shape {shape}; a 3D volume is expected"
    if min(shape) < MIN_SLICES:
        return f"shape {shape}; at least {MIN_SLICES} slices are needed"
    return None
