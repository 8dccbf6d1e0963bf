"""Enhanced multi-frame CT for tests, written element by element: SimpleITK writes none."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
_LONG = ("OB", "OW", "SQ", "UN")


def _element(tag, vr, value, implicit=False):
    value = value.encode("latin-1") if isinstance(value, str) else value
    value += (b" " if vr not in ("OB", "OW", "UI") else b"\0") * (len(value) % 2)
    head = struct.pack("<2H", tag >> 16, tag & 0xFFFF)
    if implicit:
        return head + struct.pack("<I", len(value)) + value
    if vr in _LONG:
        return head + vr.encode() + struct.pack("<HI", 0, len(value)) + value
    return head + vr.encode() + struct.pack("<H", len(value)) + value


def _sequence(tag, items, implicit, undefined):
    """A sequence of items, with their lengths or with delimiters."""
    end, stop = b"\xfe\xff\x0d\xe0" + bytes(4), b"\xfe\xff\xdd\xe0" + bytes(4)
    inner = b"".join(
        b"\xfe\xff\x00\xe0" + (b"\xff" * 4 + item + end if undefined else _size(item) + item)
        for item in items
    )
    head = struct.pack("<2H", tag >> 16, tag & 0xFFFF) + (b"" if implicit else b"SQ\0\0")
    return head + (b"\xff" * 4 + inner + stop if undefined else _size(inner) + inner)


def _size(content):
    return struct.pack("<I", len(content))


def _listed(values):
    return "\\".join(f"{value:g}" for value in values)


def write_multiframe(
    path: Path,
    volume,
    positions,
    rescale=(1.0, -1024.0),
    *,
    patient="P1",
    uid="1.2.3",
    spacing=(0.7, 0.8),
    plane=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    shared=True,
    groups=True,
    implicit=False,
    undefined=False,
    charset="ISO_IR 100",
):
    """Writes one file.

    Args:
        path: Where to.
        volume: Rescaled values, (X, Y, Z), Z in the order of the frames.
        positions: Of each frame, LPS mm.
        rescale: Slope and intercept, or a list of them, one for each frame.
        patient: PatientID.
        uid: SeriesInstanceUID.
        spacing: Row spacing and column spacing, mm.
        plane: Orientation, six cosines; or a list, one for each frame.
        shared: Whether what all frames have is in the shared groups, or in each frame's.
        groups: Whether there are functional groups at all.
        implicit: Written with implicit value representations.
        undefined: Sequences end with delimiters.
        charset: SpecificCharacterSet.
    """
    columns, rows, count = volume.shape
    each = rescale if isinstance(rescale, list) else [rescale] * count
    planes = plane if isinstance(plane, list) else [plane] * count

    def element(tag, vr, value):
        return _element(tag, vr, value, implicit)

    def group(tag, *elements):
        return _sequence(tag, [b"".join(elements)], implicit, undefined)

    orientations = [group(0x00209116, element(0x00200037, "DS", _listed(one))) for one in planes]
    measures = group(0x00289110, element(0x00280030, "DS", _listed(spacing)))
    values = [
        group(0x00289145, element(0x00281052, "DS", f"{i:g}"), element(0x00281053, "DS", f"{s:g}"))
        for s, i in each
    ]
    common, own = (
        b"",
        [group(0x00209113, element(0x00200032, "DS", _listed(one))) for one in positions],
    )
    for piece in (orientations, [measures] * count, values):
        if shared and len(set(piece)) == 1:
            common += piece[0]
        else:
            own = [before + after for before, after in zip(own, piece, strict=True)]
    stored = np.stack(
        [np.round((volume[:, :, k].T - each[k][1]) / each[k][0]) for k in range(count)]
    ).astype("<u2")
    elements = [
        element(0x00080005, "CS", charset),
        element(0x00080016, "UI", ENHANCED_CT),
        element(0x00080018, "UI", f"{uid}.1"),
        element(0x00080060, "CS", "CT"),
        element(0x00100020, "LO", patient),
        element(0x0020000D, "UI", "1.2"),
        element(0x0020000E, "UI", uid),
        element(0x00280002, "US", struct.pack("<H", 1)),
        element(0x00280004, "CS", "MONOCHROME2"),
        element(0x00280008, "IS", str(count)),
        element(0x00280010, "US", struct.pack("<H", rows)),
        element(0x00280011, "US", struct.pack("<H", columns)),
        *(element(tag, "US", struct.pack("<H", n)) for tag, n in _BITS),
    ]
    if groups:
        elements.append(_sequence(0x52009229, [common], implicit, undefined))
        elements.append(_sequence(0x52009230, own, implicit, undefined))
    elements.append(element(0x7FE00010, "OW", stored.tobytes()))
    syntax = "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1"
    meta = b"".join(
        _element(tag, vr, value)
        for tag, vr, value in (
            (0x00020001, "OB", b"\0\1"),
            (0x00020002, "UI", ENHANCED_CT),
            (0x00020003, "UI", f"{uid}.1"),
            (0x00020010, "UI", syntax),
        )
    )
    length = _element(0x00020000, "UL", struct.pack("<I", len(meta)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(128) + b"DICM" + length + meta + b"".join(elements))
    return path


_BITS = ((0x00280100, 16), (0x00280101, 16), (0x00280102, 15), (0x00280103, 0))
