"""Tiny NIfTI files in the folders of a layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from examples.covid3d.common.files import write_nifti


def plant(root: Path, *paths: str, shape=(8, 9, 10)) -> Path:
    """Writes a tiny volume at each path below ``root``."""
    for path in paths:
        write_nifti(root / path, np.zeros(shape, np.int16), np.diag([2.0, 2.0, 3.0, 1.0]))
    return root


def reasons(found) -> dict[str, str]:
    """What was rejected, reason by the last part of where."""
    shown = {item.where.rsplit("/", 1)[-1]: item.reason for item in found.rejected}
    assert len(shown) == len(found.rejected)
    return shown
