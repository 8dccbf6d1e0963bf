"""The DICOM series in a folder, their headers read once in a process."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from examples.covid3d.scans.readers.dicom_headers import list_series, looks_like_dicom
from examples.covid3d.scans.readers.dicom_stack import Series, UnusableSeriesError, arrange
from examples.covid3d.scans.readers.listing import is_nifti

_State = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Stack:
    """The files of one SeriesInstanceUID.

    Attributes:
        count: Slices, in files or frames.
        modality: ``CT`` and the like, empty if not given.
        series: The series, or None if it is no volume.
        reason: Why it is none.
    """

    count: int
    modality: str
    series: Series | None
    reason: str = ""


@dataclass(frozen=True)
class Content:
    """Stacks by SeriesInstanceUID, in its order, and files that are no DICOM image, with why."""

    stacks: dict[str, Stack]
    unreadable: list[tuple[Path, str]]


# By folder. The headers of a hospital take minutes on a network share, and are asked for when the
# scans are found, when they are looked at and when they are read.
_known: dict[Path, tuple[_State, Content]] = {}


def series_in(folder: Path, files: Iterable[Path]) -> Content:
    """The series among the files of a folder; read again if a name, size or time has changed.

    Raises:
        UserError: If there are DICOM files and SimpleITK is not installed.
    """
    files = sorted(path for path in files if not is_nifti(path))
    state = tuple(_state(path) for path in files)
    if folder in _known and _known[folder][0] == state:
        return _known[folder][1]
    content = _read([path for path in files if looks_like_dicom(path)])
    _known[folder] = state, content
    return content


def _state(path: Path) -> tuple[str, int, int]:
    try:
        status = path.stat()
    except OSError:
        return path.name, -1, -1
    return path.name, status.st_size, status.st_mtime_ns


def _read(files: list[Path]) -> Content:
    if not files:
        return Content({}, [])
    headers, unreadable = list_series(files)
    stacks = {}
    for uid, slices in sorted(headers.items()):
        count = max(len(slices), slices[0].size[2])
        try:
            stacks[uid] = Stack(count, slices[0].modality, arrange(slices))
        except UnusableSeriesError as error:
            stacks[uid] = Stack(count, slices[0].modality, None, str(error))
    return Content(stacks, unreadable)
