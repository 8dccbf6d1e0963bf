"""The sequences in a DICOM file's header, which SimpleITK does not hand out."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

# Attribute by its tag, group and element: raw bytes, or the items of a sequence.
Elements = dict[int, "bytes | list[Elements]"]

_IMPLICIT = "1.2.840.10008.1.2"
# Big-endian (retired) and deflated data sets are laid out otherwise.
_OTHERWISE = ("1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_TRANSFER_SYNTAX, _PIXELS = 0x00020010, 0x7FE00010
_ITEM, _END_OF_ITEM, _END_OF_SEQUENCE = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_DEEPEST = 16
# Of a value that is kept; what is read here are numbers.
_LONGEST = 4096


def read_elements(path: Path, sequences: frozenset[int]) -> Elements:
    """Reads a header up to the pixels: short values, and the sequences asked for.

    Args:
        path: A DICOM file, its data set little-endian and not deflated.
        sequences: Tags of the sequences to go into; others are passed over.

    Returns:
        Values as they are stored.

    Raises:
        ValueError: If the file is cut short, or laid out otherwise.
    """
    with path.open("rb") as stream:
        stream.seek(128)
        if stream.read(4) != b"DICM":
            raise ValueError("no DICM mark")
        meta = _Parser(stream, frozenset(), implicit=False).elements(None, 0, group=2)
        syntax = meta.get(_TRANSFER_SYNTAX, b"")
        name = syntax.decode("ascii", "replace").strip(" \0") if isinstance(syntax, bytes) else ""
        if name in _OTHERWISE:
            raise ValueError(f"transfer syntax {name}")
        return _Parser(stream, sequences, implicit=name == _IMPLICIT).elements(None, 0)


class _Parser:
    """Walks through a data set."""

    def __init__(self, stream: BinaryIO, sequences: frozenset[int], *, implicit: bool) -> None:
        self.stream, self.sequences, self.implicit = stream, sequences, implicit

    def elements(self, end: int | None, depth: int, group: int | None = None) -> Elements:
        """The elements up to ``end``, the end of an item, the pixels, or of another group."""
        if depth > _DEEPEST:
            raise ValueError("sequences too deep")
        found: Elements = {}
        while end is None or self.stream.tell() < end:
            start = self.stream.tell()
            head = self.stream.read(8)
            if not head and end is None and depth == 0:
                return found
            tag = self._tag(head)
            if tag in (_END_OF_ITEM, _PIXELS):
                return found
            if group is not None and tag >> 16 != group:
                self.stream.seek(start)
                return found
            sequence, length = self._length(head, tag)
            if sequence or length == _UNDEFINED:
                items = self._items(length, depth + 1, implicit=self.implicit or not sequence)
                if tag in self.sequences:
                    found[tag] = items
            elif length <= _LONGEST:
                found[tag] = self._read(length)
            else:
                self.stream.seek(length, 1)
        return found

    def _tag(self, head: bytes) -> int:
        if len(head) < 8:
            raise ValueError("a header that is cut short")
        group, element = struct.unpack_from("<2H", head)
        return int(group) << 16 | int(element)

    def _length(self, head: bytes, tag: int) -> tuple[bool, int]:
        """Whether to go into it as a sequence, and the length."""
        if self.implicit:
            return tag in self.sequences, int(struct.unpack_from("<I", head, 4)[0])
        if head[4:6] in _LONG:
            length = int(struct.unpack("<I", self._read(4))[0])
            return head[4:6] == b"SQ" and (tag in self.sequences or length == _UNDEFINED), length
        return False, int(struct.unpack_from("<H", head, 6)[0])

    def _items(self, length: int, depth: int, *, implicit: bool) -> list[Elements]:
        # A sequence of an unknown representation is stored without those of its elements.
        inner = _Parser(self.stream, self.sequences, implicit=implicit)
        end = None if length == _UNDEFINED else self.stream.tell() + length
        items: list[Elements] = []
        while end is None or self.stream.tell() < end:
            head = self.stream.read(8)
            tag = self._tag(head)
            size = int(struct.unpack_from("<I", head, 4)[0])
            if tag == _END_OF_SEQUENCE:
                break
            if tag != _ITEM:
                raise ValueError("a sequence without items")
            stop = None if size == _UNDEFINED else self.stream.tell() + size
            items.append(inner.elements(stop, depth))
        return items

    def _read(self, length: int) -> bytes:
        value = self.stream.read(length)
        if len(value) < length:
            raise ValueError("a header that is cut short")
        return value
