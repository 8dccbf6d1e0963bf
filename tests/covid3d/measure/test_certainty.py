"""Volumes and doubts of a prediction, by hand."""

import numpy as np
import pytest
import torch

from examples.covid3d.measure.certainty import segmentation
from examples.covid3d.scans.geometry import Grid

GRID = Grid((4, 3, 2), np.diag([-10.0, 10.0, 5.0, 1.0]))
ML = 0.5


def test_volumes_at_three_thresholds_and_the_entropy_of_what_is_marked():
    p = torch.zeros(GRID.shape)
    p[0, 0, 0], p[1, 0, 0], p[2, 0, 0], p[3, 0, 0] = 1.0, 0.75, 0.3, 0.05
    found = segmentation([p], GRID, GRID)
    assert found.mask.sum() == 2
    numbers = found.numbers
    assert numbers["lesion_voxels"] == 2
    volumes = [numbers[name] for name in ("sure_ml", "volume_ml", "possible_ml")]
    assert volumes == pytest.approx([ML, 2 * ML, 3 * ML])
    quarter = -0.75 * np.log2(0.75) - 0.25 * np.log2(0.25)
    assert numbers["mean_entropy"] == pytest.approx(quarter / 2, abs=1e-6)
    assert (numbers["networks"], numbers["volume_std_ml"], numbers["network_dice"]) == (1, "", "")
    np.testing.assert_allclose(found.probability, p, atol=1e-6)


def test_networks_that_differ_are_told_by_their_spread():
    one, other = torch.zeros(GRID.shape), torch.zeros(GRID.shape)
    one[:2, 0, 0] = 0.9
    other[1:, 0, 0] = 0.9
    numbers = segmentation([one, other], GRID, GRID).numbers
    # Two voxels and three, one in common; on average only that one is above a half.
    assert numbers["lesion_voxels"] == 1
    assert numbers["volume_std_ml"] == pytest.approx(np.std([2 * ML, 3 * ML], ddof=1))
    assert numbers["network_dice"] == pytest.approx(2 / 5)
    same = segmentation([one, one], GRID, GRID).numbers
    assert (same["volume_std_ml"], same["network_dice"]) == (0, 1)


def test_where_nothing_is_marked_there_is_no_mean_of_it():
    numbers = segmentation([torch.zeros(GRID.shape)], GRID, GRID).numbers
    assert (numbers["volume_ml"], numbers["mean_entropy"]) == (0, "")
