"""Which reader a folder is for."""

from __future__ import annotations

from pathlib import Path

from examples.covid3d.scans.readers import benchmark, challenge, nnunet
from examples.covid3d.scans.readers.listing import nifti_files, stem_of


def guess_kind(path: Path) -> str | None:
    """Recognises the layout of a dataset by a glance at its names.

    Args:
        path: A folder, or a CSV file.

    Returns:
        ``"csv"`` for a file of that suffix; for a folder ``"nnunet"`` if it holds ``imagesTr``,
        ``"benchmark"`` if ``COVID-19-CT-Seg_20cases``, ``"challenge"`` if files ``*_ct.nii.gz``
        in it or in a folder of it, else ``"hospital"``; None for anything else, an empty folder
        and a path that does not exist included.
    """
    if path.is_file():
        return "csv" if path.suffix.lower() == ".csv" else None
    if not path.is_dir():
        return None
    if (path / nnunet.IMAGES).is_dir():
        return "nnunet"
    if (path / benchmark.IMAGES).is_dir():
        return "benchmark"
    entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    folders = [path, *(entry for entry in entries if entry.is_dir())]
    if any(stem_of(p).endswith(challenge.IMAGE) for here in folders for p in nifti_files(here)):
        return "challenge"
    return "hospital" if entries else None
