"""What the headers of DICOM files say, read with SimpleITK."""

from __future__ import annotations

import dataclasses
import importlib
import locale
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.covid3d.common.errors import problem
from examples.covid3d.common.faults import passing_fault, read_through
from examples.covid3d.scans.readers.dicom_frames import read_frames
from examples.covid3d.scans.readers.dicom_text import decode

_SUFFIXES = (".dcm", ".dicom", ".ima")


@dataclass(frozen=True)
class Slice:
    """What the header of one file, or of one frame of it, says; nothing of it checked.

    Attributes:
        path: The file.
        series: SeriesInstanceUID.
        patient: PatientID, empty if there is none.
        modality: ``CT`` and the like, empty if there is none.
        size: Columns, rows, frames.
        samples: Samples per pixel; 1 for grey values.
        spacing: Row spacing and column spacing, mm; empty if not given.
        orientation: Direction of a row and of a column in the patient, 6 numbers; empty if not
            given.
        position: Centre of the first voxel, LPS mm; empty if not given.
        frame: Which frame of a file of several; None where the file is the slice.
        correction: Slope and intercept from what SimpleITK reads to what the frame holds.
    """

    path: Path
    series: str
    patient: str
    modality: str
    size: tuple[int, int, int]
    samples: int
    spacing: tuple[float, ...]
    orientation: tuple[float, ...]
    position: tuple[float, ...]
    frame: int | None = None
    correction: tuple[float, float] = (1.0, 0.0)


@contextmanager
def keeping_locale() -> Iterator[None]:
    """Puts the process's locale back: SimpleITK sets it to "C" while it works and leaves it so.

    Python would then read every text file as ASCII unless told otherwise, which breaks others, such
    as ``torch.compile``. Also a decorator.
    """
    before = locale.setlocale(locale.LC_ALL)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_ALL, before)


def simpleitk() -> Any:
    """Imports SimpleITK, which only DICOM needs.

    Raises:
        UserError: If it is not installed.
    """
    try:
        return importlib.import_module("SimpleITK")
    except ImportError as error:
        raise problem(
            "SimpleITK",
            "is not installed",
            "it, to read DICOM files",
            'pip install "simpleitk>=2.3" (requirements/covid3d.txt has it)',
        ) from error


def looks_like_dicom(path: Path) -> bool:
    """Whether a file has a suffix of DICOM files, or none of that but their mark, ``DICM``."""
    if path.name.upper() == "DICOMDIR":
        return False
    if path.suffix.lower() in _SUFFIXES:
        return True
    try:
        # A pipe would be waited on for ever.
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError as error:
        if passing_fault(error) is not None:
            raise
        return False


def file_reader(path: Path) -> Any:
    """A SimpleITK reader of one DICOM file, on one thread."""
    reader = simpleitk().ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    reader.SetNumberOfThreads(1)
    return reader


def reason_of(error: Exception) -> str:
    """The part of an ITK error that tells something."""
    return str(error).strip().splitlines()[-1].split("): ")[-1] if str(error) else "unknown error"


def _read_slices(path: Path) -> list[Slice]:
    """Reads a header: one slice, or one for each frame.

    Raises RuntimeError if it is none of an image, ValueError at bad numbers.
    """
    reader = file_reader(path)
    reader.ReadImageInformation()

    def raw(key: str) -> str:
        return str(reader.GetMetaData(key)) if reader.HasMetaDataKey(key) else ""

    def text(key: str) -> str:
        return decode(raw(key), raw("0008|0005"))

    def numbers(key: str) -> tuple[float, ...]:
        return tuple(float(part) for part in text(key).split("\\") if part.strip())

    columns, rows, frames = (*reader.GetSize(), 1)[:3]
    whole = Slice(
        path,
        text("0020|000e"),
        text("0010|0020"),
        text("0008|0060"),
        (columns, rows, frames),
        reader.GetNumberOfComponents(),
        numbers("0028|0030"),
        numbers("0020|0037"),
        numbers("0020|0032"),
    )
    if frames == 1 and whole.position:
        return [whole]
    found = read_frames(path)
    if not found:
        return [whole]
    if len(found) != frames:
        raise ValueError(f"{frames} frames, and functional groups of {len(found)}")
    return [
        dataclasses.replace(whole, size=(columns, rows, 1), frame=number, **vars(frame))
        for number, frame in enumerate(found)
    ]


def _read_again(path: Path) -> list[Slice]:
    """Reads a header, a second time if need be: ITK does not say that a disk did not answer."""
    try:
        return _read_slices(path)
    except RuntimeError:
        read_through([path])
        return _read_slices(path)


@keeping_locale()
def list_series(
    files: Iterable[Path],
) -> tuple[dict[str, list[Slice]], list[tuple[Path, str]]]:
    """Groups files into series by their headers; no pixel is decoded.

    Args:
        files: DICOM files.

    Returns:
        Headers by SeriesInstanceUID, and the files that are none, with the reason.

    Raises:
        UserError: If SimpleITK is not installed.
    """
    found: dict[str, list[Slice]] = defaultdict(list)
    unreadable = []
    simpleitk()
    for path in files:
        try:
            slices = _read_again(path)
        except (RuntimeError, ValueError) as error:
            unreadable.append((path, f"no readable DICOM image ({reason_of(error)})"))
            continue
        found[slices[0].series] += slices
    return dict(found), unreadable
