"""What a prepared scan is made of: its files' bytes, and a quick look that tells them apart."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from examples.covid3d.common.config import Config
from examples.covid3d.scans.readers.scan import Scan

_CHUNK = 2**22
VERSION = 2
"""Of what preparation makes of a file, and finds in it; under another, all is made anew."""


def files_of_scan(scan: Scan) -> list[Path]:
    """The files that a scan is read from; of a folder of DICOM files, all that are not hidden."""
    files = [scan.image]
    if scan.image.is_dir():
        files = sorted(
            path
            for path in scan.image.iterdir()
            if not path.name.startswith(".") and path.is_file()
        )
    return files + ([scan.mask] if scan.mask is not None else [])


def look_of(scan: Scan) -> list[list[Any]]:
    """Checksums of names, sizes and times of a scan's files, through links.

    Raises:
        OSError: If one is not there.
    """
    # The record that this is kept in has no names: they may be those of patients.
    states = [(_short(path.name), path.stat()) for path in files_of_scan(scan)]
    return [[name, one.st_size, one.st_mtime_ns] for name, one in states]


def _short(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:12]


def digest_of(scan: Scan) -> str:
    """SHA-256 of the bytes of a scan's files, in order; their names do not count."""
    whole = hashlib.sha256()
    for path in files_of_scan(scan):
        own = hashlib.sha256()
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                own.update(chunk)
        whole.update(own.digest())
    return whole.hexdigest()


def settings_of_scan(scan: Scan, config: Config) -> dict[str, Any]:
    """The settings that a prepared scan depends on, beside its files."""
    return {
        "version": VERSION,
        "series": scan.series or "",
        "has_mask": scan.mask is not None,
        "spacing": list(config.spacing),
        "intensity": config.intensity,
        "window": list(config.window),
        "foreground": list(config.foreground_labels),
        "labels": list(scan.labels),
    }
