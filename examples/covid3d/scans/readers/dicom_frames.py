"""Where each frame of a multi-frame DICOM file lies: its functional groups."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from examples.covid3d.scans.readers.dicom_elements import Elements, read_elements

_SHARED, _PER_FRAME = 0x52009229, 0x52009230
_POSITION, _ORIENTATION = 0x00209113, 0x00209116
_MEASURES, _VALUES = 0x00289110, 0x00289145
_SEQUENCES = frozenset({_SHARED, _PER_FRAME, _POSITION, _ORIENTATION, _MEASURES, _VALUES})

Rescale = tuple[float, float]
"""Slope and intercept."""


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        spacing: Row spacing and column spacing, mm; empty if not given.
        orientation: Direction of a row and of a column, 6 numbers; empty if not given.
        position: Centre of the first voxel, LPS mm; empty if not given.
        correction: Slope and intercept from what SimpleITK makes of the frame to what it is:
            SimpleITK rescales all the frames of a file alike.
    """

    spacing: tuple[float, ...]
    orientation: tuple[float, ...]
    position: tuple[float, ...]
    correction: Rescale


def read_frames(path: Path) -> list[Frame]:
    """The frames of an enhanced multi-frame file, in the order of its pixels.

    What is shared by all frames and what each has of its own may lie in either of two sequences.

    Returns:
        The frames; none where the file has no functional groups.

    Raises:
        ValueError: If the header cannot be read.
    """
    header = read_elements(path, _SEQUENCES)
    shared = _first(header, _SHARED)
    groups = header.get(_PER_FRAME, [])
    if not isinstance(groups, list) or not groups:
        return []

    def numbers(frame: Elements, sequence: int, tag: int) -> tuple[float, ...]:
        return _numbers(_first(frame, sequence) or _first(shared, sequence), tag)

    # As the reading library takes it: the shared one, else that of the first frame.
    applied = _rescale(_first(shared, _VALUES) or _first(groups[0], _VALUES))
    frames = []
    for frame in groups:
        slope, intercept = _rescale(_first(frame, _VALUES) or _first(shared, _VALUES))
        gain = slope / applied[0]
        frames.append(
            Frame(
                numbers(frame, _MEASURES, 0x00280030),
                numbers(frame, _ORIENTATION, 0x00200037),
                numbers(frame, _POSITION, 0x00200032),
                (gain, intercept - gain * applied[1]),
            )
        )
    return frames


def _first(elements: Elements, sequence: int) -> Elements:
    """The first item of a sequence; empty if there is none."""
    items = elements.get(sequence)
    return items[0] if isinstance(items, list) and items else {}


def _numbers(elements: Elements, tag: int) -> tuple[float, ...]:
    value = elements.get(tag, b"")
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else ""
    return tuple(float(part) for part in text.strip(" \0").split("\\") if part.strip())


def _rescale(elements: Elements) -> Rescale:
    slope, intercept = (_numbers(elements, tag) or (other,) for tag, other in _DEFAULTS)
    if slope[0] == 0:
        raise ValueError("a rescale slope of 0")
    return slope[0], intercept[0]


_DEFAULTS = ((0x00281053, 1.0), (0x00281052, 0.0))
