"""The names that a report shows: those of the data, or others in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from examples.covid3d.common.config import Config
from examples.covid3d.scans.manifest import Entry

WITHHELD = "withheld"


def names_are_hidden(config: Config) -> bool:
    """Whether the run asks for pseudonyms in place of names and paths."""
    return bool(getattr(config, "pseudonyms", False))


class Naming:
    """What scans, patients and sources are called in everything that the report writes.

    Args:
        entries: The prepared scans.
        hidden: Whether to number them instead of naming them.
    """

    def __init__(self, entries: Sequence[Entry], *, hidden: bool) -> None:
        self.hidden = hidden
        self._shown = {
            column: _numbered(word, {getattr(entry, attribute) for entry in entries}, hidden)
            for column, attribute, word in (
                ("scan", "name", "scan"),
                ("patient", "patient", "patient"),
                ("source", "source", "source"),
            )
        }
        self._real = {shown: real for real, shown in self._shown["scan"].items()}

    def scan(self, real: str) -> str:
        """What a scan is called."""
        return self._shown["scan"][real]

    def real(self, shown: str) -> str:
        """The scan that is called so."""
        return self._real[shown]

    def row(self, row: Mapping[str, str]) -> dict[str, str]:
        """A line of a table with the names in its columns scan, patient and source replaced."""
        return {
            key: self._shown[key].get(value, value) if key in self._shown else value
            for key, value in row.items()
        }

    def place(self, text: str) -> str:
        """A path, or a text that may hold one."""
        return WITHHELD if self.hidden and text else text


def _numbered(word: str, names: set[str], hidden: bool) -> dict[str, str]:
    if not hidden:
        return {name: name for name in names}
    digits = len(str(len(names)))
    return {name: f"{word} {i:0{digits}d}" for i, name in enumerate(sorted(names), start=1)}
