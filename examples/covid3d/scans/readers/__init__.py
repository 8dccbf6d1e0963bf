"""Readers: each turns a folder of one layout into scans."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from examples.covid3d.common.errors import problem
from examples.covid3d.scans.readers import benchmark, challenge, hospital, nnunet, table
from examples.covid3d.scans.readers.guess import guess_kind
from examples.covid3d.scans.readers.scan import Found, Rejected, Scan

__all__ = ["LAYOUTS", "READERS", "Found", "Rejected", "Scan", "guess_kind", "read_dataset"]

READERS: dict[str, Callable[[Path], Found]] = {
    "benchmark": benchmark.read,
    "challenge": challenge.read,
    "hospital": hospital.read,
    "nnunet": nnunet.read,
    "csv": table.read,
}
"""Readers by the name of their layout."""

LAYOUTS = {
    "benchmark": benchmark.LAYOUT,
    "challenge": challenge.LAYOUT,
    "hospital": hospital.LAYOUT,
    "nnunet": nnunet.LAYOUT,
    "csv": table.LAYOUT,
}
"""What each reader expects, in words."""

_SHOWN = 8


def _content(folder: Path) -> str:
    """The first names in a folder, for errors."""
    names = sorted(
        f"{path.name}/" if path.is_dir() else path.name
        for path in folder.iterdir()
        if not path.name.startswith(".")
    )
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more if names else "nothing"


def read_dataset(kind: str, folder: Path) -> Found:
    """Reads a folder, or a CSV file, with the reader of its layout.

    Args:
        kind: A key of READERS.
        folder: The folder; with ``"csv"``, the file.

    Returns:
        Scans, and what was rejected. There is at least one of either.

    Raises:
        UserError: If the kind is unknown, there is no such folder or file, nothing in it is what
            the reader looks for, or the reader refuses it.
    """
    if kind not in READERS:
        raise problem(
            f"dataset {folder}",
            f"unknown kind {kind!r}",
            f"one of {', '.join(READERS)}",
            "choose the kind of its layout",
        )
    layout = LAYOUTS[kind]
    if not folder.exists():
        raise problem(folder, "no such file or folder", layout, "check the path")
    if folder.is_dir() == (kind == "csv"):
        found = "a folder" if folder.is_dir() else "a file, not a folder"
        raise problem(folder, found, layout, "check the path, or the kind of dataset")
    result = READERS[kind](folder)
    if not result.scans and not result.rejected:
        other = guess_kind(folder)
        remedy = f"read it as {other}" if other not in (None, kind) else "check the path"
        raise problem(folder, f"no scan; it holds {_content(folder)}", layout, remedy)
    return result
