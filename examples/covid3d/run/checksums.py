"""Checksums of what trainings and pseudo-labelling left."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from examples.covid3d.common.files import read_json
from examples.covid3d.run.records import RECORD
from examples.covid3d.train.training import WEIGHTS

_SHORT = 16


def weights_of(folder: Path) -> str | None:
    """SHA-256 of the trained weights in a folder, shortened; None where there are none.

    That of the record, if they have the size and the time they had then: a finished run is not
    read through to see that it is finished.
    """
    record = read_json(folder / RECORD)
    now = look_of_weights(folder)
    if now and isinstance(record, dict) and record.get("weights", {}).get("look") == now:
        return str(record["weights"]["sha256"])
    return checksum_of_file(folder / WEIGHTS)


def look_of_weights(folder: Path) -> list[int]:
    """Size and time of trained weights; empty where there are none."""
    try:
        state = (folder / WEIGHTS).stat()
    except FileNotFoundError:
        return []
    return [state.st_size, state.st_mtime_ns]


def checksum_of_file(path: Path) -> str | None:
    """SHA-256 of a file's bytes, shortened; None where there is no such file."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return _checksum(path, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


@functools.lru_cache(maxsize=1024)
def _checksum(path: Path, *_: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:_SHORT]


def checksum_of_labels(folder: Path) -> str:
    """SHA-256 of all the masks in a folder's folders, with their names."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*/mask.npy")):
        digest.update(f"{path.parent.name}:{checksum_of_file(path)}\n".encode())
    return digest.hexdigest()[:_SHORT]
