"""Planted faults are what they say."""

import numpy as np
import pytest

from examples.covid3d.audit.faults import FAULTS, fitted, moved
from examples.covid3d.audit.trial.settings import SHARES, TEACHER
from tests.covid3d.audit.bodies import labels

OTHERS = [labels(seed, (31, 38, 30)) for seed in (7, 8)]


def planted(kind, seed=0):
    return FAULTS[kind](labels(3), OTHERS, np.random.default_rng(seed))


def centre(mask):
    return np.argwhere(mask).mean(0)


def test_every_kind_of_the_trial_can_be_planted_and_the_shares_leave_sound_masks():
    assert set(SHARES) == {TEACHER, *FAULTS}
    assert sum(SHARES.values()) < 100


@pytest.mark.parametrize("kind", FAULTS)
def test_a_faulty_mask_is_another_one_of_the_same_grid(kind):
    mask = planted(kind)
    assert mask.shape == labels(3).shape
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) <= {0, 1}
    assert not np.array_equal(mask, labels(3) > 0)


@pytest.mark.parametrize("voxels", [1, 2, 3])
def test_a_shift_moves_the_mask_by_so_many_voxels_along_one_axis(voxels):
    name = f"shifted by {voxels} voxel{'s' * (voxels > 1)}"
    ways = set()
    for seed in range(12):
        by = centre(planted(name, seed)) - centre(labels(3) > 0)
        assert sorted(np.abs(by).round(6)) == [0, 0, voxels]
        ways.add(tuple(by.round()))
    assert len(ways) > 3


def test_what_is_moved_beyond_the_grid_is_lost_and_does_not_come_back_in():
    mask = np.zeros((3, 3, 3), np.uint8)
    mask[2] = 1
    assert moved(mask, 1, 0).sum() == 0
    assert moved(mask, -2, 0)[0].all()


def test_one_structure_is_missing_and_the_other_is_whole():
    assert np.array_equal(planted("anterior part missing"), labels(3) == 2)
    assert np.array_equal(planted("posterior part missing"), labels(3) == 1)


def test_mirrors_are_of_the_whole_grid():
    assert np.array_equal(planted("mirrored left-right")[::-1], labels(3) > 0)
    assert np.array_equal(planted("mirrored front-back")[:, ::-1], labels(3) > 0)


@pytest.mark.parametrize("by", [1, 2])
def test_over_drawn_holds_the_mask_and_under_drawn_is_held_by_it(by):
    end = "voxel" if by == 1 else "voxels"
    true, over = labels(3) > 0, planted(f"over-drawn by {by} {end}").astype(bool)
    under = planted(f"under-drawn by {by} {end}").astype(bool)
    assert over[true].all()
    assert over.sum() > true.sum()
    assert true[under].all()
    assert under.sum() < true.sum()


def test_another_patient_s_mask_keeps_its_size_on_the_new_grid():
    mask = np.ones((4, 6, 3), np.uint8)
    other = fitted(mask, (6, 4, 3))
    assert other.shape == (6, 4, 3)
    assert other.sum() == 4 * 4 * 3
    assert np.array_equal(fitted(other, (4, 4, 3)), np.ones((4, 4, 3)))
