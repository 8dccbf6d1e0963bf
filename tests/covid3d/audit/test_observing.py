"""Scans as the judge sees them."""

import numpy as np
import pytest
import torch

from examples.covid3d.audit.doubt import explain
from examples.covid3d.audit.observing import Drawings, place_of
from examples.covid3d.common.files import write_arrays, write_nifti
from examples.covid3d.run.context import Context
from examples.covid3d.run.pipeline import run_stages
from examples.covid3d.scans.manifest import read_manifest
from examples.covid3d.scans.store import stored
from tests.covid3d.running import small

# Slices from left to right: the first axis goes down, the second to the front, the third left.
SAGITTAL = np.array([[0.0, 0, -1, 0], [0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]])


@pytest.fixture
def context(tmp_path):
    """Prepared: one scan in sagittal slices, its mask two voxels too high."""
    image = np.random.default_rng(0).normal(-800, 80, (20, 22, 24)).astype(np.int16)
    mask = np.zeros(image.shape, np.uint8)
    mask[6:12, 6:13, 8:16] = 1
    data = tmp_path / "data"
    write_nifti(data / "imagesTr" / "case.nii.gz", image, SAGITTAL)
    write_nifti(data / "labelsTr" / "case.nii.gz", mask, SAGITTAL)
    config = small(data=str(data), spacing=(1.0, 1.0, 1.0))
    return Context(run_stages(tmp_path / "run", config, ["prepare"]), torch.device("cpu"))


def test_up_is_up_in_slices_of_any_direction(context, tmp_path):
    grid = stored(context.prepared, "case").grid
    drawn = np.zeros(grid.shape, np.uint8)
    # Up is the third axis of the working grid, and the first of the file backwards.
    drawn[8:16, 6:13, 6:12] = 255
    write_arrays(place_of(tmp_path, "case") / "probability.npz", probability=drawn)
    (drawing,) = Drawings(context, tmp_path, read_manifest(context.prepared), {})
    assert drawing.given.shape == drawing.probability.shape == (24, 22, 20)
    assert explain(drawing, 1.0).words == "shifted by +2.0 mm up-down"
