"""Tiny settings, scans on disk, and the real data where they are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from examples.covid3d.config import Config
from examples.covid3d.files import write_nifti

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    """Settings under which a whole run takes seconds."""
    return Config(
        preset="demo",
        phantoms=(1, 1, 2, 1),
        phantom_spacing=8.0,
        spacing=(10.0, 10.0, 10.0),
        patch=(32, 32, 32),
        batch_size=2,
        teacher_steps=4,
        student_steps=4,
        checkpoint_every=2,
        validate_every=2,
        overlap=0.25,
    )


@pytest.fixture
def tiny(tiny_config: Config) -> Config:
    """The same, under a shorter name."""
    return tiny_config


@pytest.fixture
def real_data() -> Path:
    """The folder of real scans, beside the repository; never part of it."""
    if not DATA.is_dir():
        pytest.skip(f"no real data in {DATA}")
    return DATA


@pytest.fixture
def write_scan(tmp_path):
    """Writes a volume as NIfTI and returns its path."""

    def write(volume, affine=None, name="scan.nii.gz") -> Path:
        affine = np.diag([2.0, 2.0, 3.0, 1.0]) if affine is None else affine
        write_nifti(tmp_path / name, np.asarray(volume), np.asarray(affine, dtype=float))
        return tmp_path / name

    return write
