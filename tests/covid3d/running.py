"""Pieces that tests of runs share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from examples.covid3d.common.config import Config
from examples.covid3d.common.files import write_nifti
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.scans.phantoms.cohort import plan_cohort, write_patient
from examples.covid3d.train.training import WEIGHTS

TRAINED = [name for name, row in ROWS.items() if row.recipe is not None]
"""Rows that train a student."""

LOGS = ("steps.csv", "samples.csv", "curve.csv")


class Killed(BaseException):
    """What ends a run, and no handler of errors catches."""


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / WEIGHTS, weights_only=True)


def same(a, b) -> bool:
    """Whether two state dictionaries are equal to the last bit."""
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def benchmark(folder: Path, patients: int = 4) -> Path:
    """Phantoms in the Benchmark's layout."""
    for index, patient in enumerate(plan_cohort((patients, 1, 1, 1))[:patients]):
        write_patient(folder, patient, index, seed=0, spacing=10.0)
    return folder


def nnunet(folder: Path, cases: int, shape=(20, 18, 16), seed: int = 0) -> Path:
    """Noisy volumes, brighter where their mask is 1, in nnU-Net's layout; some HU of air."""
    rng = np.random.default_rng(seed)
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    for case in range(cases):
        mask = np.zeros(shape, np.uint8)
        first = rng.integers(2, 8, 3)
        mask[tuple(slice(a, a + 6) for a in first)] = 1
        image = rng.normal(-800, 80, shape) + 700.0 * mask
        write_nifti(folder / "imagesTr" / f"case{case:02d}.nii.gz", image.astype(np.int16), affine)
        write_nifti(folder / "labelsTr" / f"case{case:02d}.nii.gz", mask, affine)
    return folder


def hide_masks(folder: Path, *cases: str) -> Path:
    """Takes the masks of some cases away."""
    for case in cases:
        (folder / "labelsTr" / f"{case}.nii.gz").unlink()
    return folder


def files_of(folder: Path) -> dict[str, int]:
    """Every file below a folder with its time, to notice what was written anew."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def small(**changes):
    """Tiny settings for the volumes of :func:`nnunet`."""
    settings = {
        "preset": "small",
        "spacing": (2.0, 2.0, 3.0),
        "channels": (4, 8),
        "patch": (16, 16, 16),
        "batch_size": 2,
        "teacher_steps": 2,
        "student_steps": 2,
        "groups": 1,
        "checkpoint_every": 1,
        "validate_every": 2,
        "overlap": 0.0,
        "max_rejected": 0.5,
        "methods": ("supervised", "equal"),
    }
    return Config(**settings | changes)
