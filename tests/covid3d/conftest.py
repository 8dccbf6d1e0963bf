"""Tiny settings, runs made once, scans on disk, and the real data where they are at hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from examples.covid3d.commands import stages
from examples.covid3d.common.config import Config
from examples.covid3d.common.files import write_nifti
from examples.covid3d.run.context import Context
from examples.covid3d.run.pipeline import run_stages

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    """A process for each tiny training would take longer to start than to do its work."""
    monkeypatch.setattr(stages, "DEMO_JOBS", 1)


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    """Settings under which a whole run takes seconds."""
    return Config(
        preset="demo",
        phantoms=(2, 2, 3, 2),
        phantom_spacing=10.0,
        spacing=(12.0, 12.0, 12.0),
        channels=(4, 8),
        patch=(16, 16, 8),
        batch_size=2,
        teacher_steps=4,
        student_steps=4,
        groups=2,
        checkpoint_every=2,
        validate_every=2,
        overlap=0.0,
        methods=("supervised", "equal", "random", "rgsm-al"),
    )


@pytest.fixture
def tiny(tiny_config: Config) -> Config:
    """The same, under a shorter name."""
    return tiny_config


@pytest.fixture(scope="session")
def finished(tmp_path_factory, tiny_config) -> tuple[Path, Config]:
    """A complete tiny run, made once; not to be changed."""
    out = tmp_path_factory.mktemp("finished")
    run_stages(out, tiny_config)
    return out, tiny_config


@pytest.fixture(scope="session")
def taught(tmp_path_factory, tiny_config) -> Context:
    """A run whose scans have their pseudo-labels, for students of eight steps."""
    config = dataclasses.replace(tiny_config, student_steps=8, checkpoint_every=3, validate_every=4)
    out = tmp_path_factory.mktemp("taught")
    run = run_stages(out, config, ["prepare", "teacher", "pseudo-label"])
    return Context(run, torch.device("cpu"))


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
