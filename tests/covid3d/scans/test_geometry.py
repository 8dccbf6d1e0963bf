import itertools

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.covid3d.measure.metrics import dice
from examples.covid3d.scans.geometry import Grid, resample, with_spacing

SHAPE = (40, 36, 22)


def affine_of(codes, spacing, shape=SHAPE):
    """A voxel-to-world affine with the given orientation, the volume centred at (10, -20, 30)."""
    start = nibabel.orientations.axcodes2ornt("RAS")
    end = nibabel.orientations.axcodes2ornt(codes)
    change = nibabel.orientations.ornt_transform(end, start)
    affine = nibabel.orientations.inv_ornt_aff(change, shape)
    affine = np.linalg.inv(affine)
    affine[:3, :3] = affine[:3, :3] * np.asarray(spacing)
    middle = affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    affine[:3, 3] = np.array([10.0, -20.0, 30.0]) - middle
    return affine


def ball(grid: Grid, centre=(12.0, -17.0, 33.0), radius=17.0):
    """A ball in the world, in the voxels of a grid."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    world = index @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    return np.linalg.norm(world - centre, axis=-1) < radius


CODES = ["RAS", "LPS", "LAS", "PIR", "SLA", "RSA"]


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("spacing", [(1.6, 1.6, 3.2), (0.9, 1.7, 4.0), (2.0, 2.0, 2.0)])
def test_working_grid_is_ras_with_the_wanted_spacing_and_the_same_field_of_view(codes, spacing):
    own = Grid(SHAPE, affine_of(codes, spacing))
    grid = with_spacing(own, (1.6, 1.8, 3.2))
    assert nibabel.aff2axcodes(grid.affine) == ("R", "A", "S")
    np.testing.assert_allclose(grid.spacing, (1.6, 1.8, 3.2))

    def corners(g):
        ends = itertools.product(*((-0.5, n - 0.5) for n in g.shape))
        world = np.array([g.affine @ (*end, 1) for end in ends])[:, :3]
        return np.array([world.min(0), world.max(0)])

    assert np.abs(corners(own) - corners(grid)).max() <= 3.2 / 4 + 0.01


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_to_the_working_grid_and_back(codes, mode):
    own = Grid(SHAPE, affine_of(codes, (1.1, 1.4, 3.0)))
    grid = with_spacing(own, (1.6, 1.6, 3.2))
    mask = ball(own)
    there = resample(torch.from_numpy(mask).float(), own, grid, mode)
    assert there.shape == grid.shape
    assert dice((there > 0.5).numpy(), ball(grid)) > 0.93
    back = resample(there, grid, own, mode)
    assert back.shape == own.shape
    assert dice((back > 0.5).numpy(), mask) > (0.95 if mode == "linear" else 0.92)


@pytest.mark.parametrize("codes", CODES)
def test_same_spacing_only_reorders_voxels(codes):
    own = Grid(SHAPE, affine_of(codes, (2.0, 2.0, 2.0)))
    volume = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    grid = with_spacing(own, (2.0, 2.0, 2.0))
    there = resample(torch.from_numpy(volume), own, grid, "nearest")
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume, own.affine))
    np.testing.assert_array_equal(there.numpy(), canonical.get_fdata(dtype=np.float32))
    np.testing.assert_allclose(grid.affine, canonical.affine, atol=1e-9)
    back = resample(there, grid, own, "nearest")
    np.testing.assert_array_equal(back.numpy(), volume)


def test_oblique_scans_come_back_too():
    turn = np.eye(4)
    c, s = np.cos(0.3), np.sin(0.3)
    turn[:2, :2] = [[c, -s], [s, c]]
    own = Grid(SHAPE, turn @ affine_of("LPS", (1.2, 1.2, 3.0)))
    centre = own.affine @ (*((np.asarray(SHAPE) - 1) / 2), 1)
    mask = ball(own, centre[:3])
    grid = with_spacing(own, (1.6, 1.6, 3.2))
    there = resample(torch.from_numpy(mask).float(), own, grid, "linear")
    back = resample(there, grid, own, "linear")
    assert dice((back > 0.5).numpy(), mask) > 0.95


def test_linear_resampling_reproduces_a_ramp_inside():
    own = Grid((20, 20, 20), affine_of("LAS", (1.0, 1.5, 2.5), (20, 20, 20)))
    grid = with_spacing(own, (1.3, 1.3, 2.0))
    volume = torch.arange(20.0)[:, None, None].expand(20, 20, 20).contiguous()
    there = resample(volume, own, grid, "linear")
    x = (np.linalg.inv(own.affine) @ grid.affine)[0] @ np.array([7, 5, 5, 1.0])
    assert there[7, 5, 5].item() == pytest.approx(x, abs=1e-4)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    spacing=st.tuples(*[st.floats(0.4, 8.0)] * 3),
    codes=st.sampled_from(CODES),
)
def test_any_grid_goes_there_and_back_without_new_values(shape, spacing, codes):
    own = Grid(shape, affine_of(codes, spacing, shape))
    grid = with_spacing(own, (1.6, 1.6, 3.2))
    volume = torch.arange(float(np.prod(shape))).reshape(shape)
    for mode in ("linear", "nearest"):
        back = resample(resample(volume, own, grid, mode), grid, own, mode)
        assert back.shape == shape
        assert back.isfinite().all()
        assert back.min() >= volume.min() - 1e-3
        assert back.max() <= volume.max() + 1e-3
