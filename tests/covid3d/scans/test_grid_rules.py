"""One rule says which grids are a scan's, whatever the format."""

import struct

import nibabel
import numpy as np
import pytest

from examples.covid3d.common.errors import UserError
from examples.covid3d.scans.geometry import Grid
from examples.covid3d.scans.grid_rules import FEWEST, MOST_VOXELS, grid_fault, working_fault
from examples.covid3d.scans.nifti import load_grid, load_image, load_mask

PLAIN = np.diag([2.0, 2.0, 3.0, 1.0])
SHAPE = (20, 18, 16)


def sheared(degrees):
    affine = PLAIN.copy()
    affine[0, 1] = 2 * np.tan(np.radians(degrees))
    return affine


def oblique():
    turn = nibabel.eulerangles.euler2mat(0.3, 0.4, 0.2)
    return nibabel.affines.from_matvec(turn @ np.diag([-2.0, 2.0, 3.0]), [5, 6, 7])


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        (SHAPE, PLAIN),
        (SHAPE, oblique()),
        (SHAPE, sheared(0.5)),
        ((512, 512, 600), np.diag([-0.7, -0.7, 0.6, 1])),
        ((600, 500, 400), np.diag([0.02, 0.02, 0.02, 1])),
        ((FEWEST, 192, 192), np.diag([10.0, 1, 1, 1])),
    ],
)
def test_scans_as_there_are_pass(shape, affine):
    assert grid_fault(Grid(shape, affine)) is None


def with_corner(value):
    affine = PLAIN.copy()
    affine[1, 3] = value
    return affine


@pytest.mark.parametrize(
    ("shape", "affine", "words"),
    [
        (SHAPE, np.diag([1000.0, 1000, 1000, 1]), "voxels of 1000 x 1000 x 1000 mm"),
        (SHAPE, np.diag([0.001, 0.001, 0.001, 1]), "voxels of 0.001 x 0.001 x 0.001 mm"),
        (SHAPE, np.diag([2.0, 2, 60, 1]), "voxels of 2 x 2 x 60 mm"),
        ((20, 18, 400), np.diag([2.0, 2, 20, 1]), "a field of view of 40 x 36 x 8000 mm"),
        ((20, 18, 16), np.diag([0.02, 2, 2, 1]), "a field of view of 0.4 x 36 x 32 mm"),
        (SHAPE, sheared(20), "70 degrees apart"),
        (SHAPE, np.zeros((4, 4)), "cannot be inverted"),
        (SHAPE, np.diag([2.0, np.nan, 2, 1]), "cannot be inverted"),
        (SHAPE, with_corner(np.inf), "cannot be inverted"),
        ((20, 18, 1), PLAIN, "shape (20, 18, 1)"),
        ((1, 18, 20), PLAIN, "shape (1, 18, 20)"),
        ((20, 18), PLAIN, "shape (20, 18)"),
        ((1400, 1400, 1400), PLAIN, "1400 x 1400 x 1400 voxels, 10.2 GiB"),
    ],
)
def test_grids_that_are_no_scan_s(shape, affine, words):
    fault = grid_fault(Grid(shape, affine))
    assert words in fault.found
    assert fault.expected
    assert fault.remedy


def test_a_working_grid_has_a_size_that_fits():
    own = Grid((512, 512, 300), np.diag([0.7, 0.7, 1.25, 1]))
    assert working_fault(own, (1.6, 1.6, 3.2)) is None
    assert "7168 x 7168 x 7500 voxels" in working_fault(own, (0.05, 0.05, 0.05)).found
    assert "--spacing" in working_fault(own, (0.05, 0.05, 0.05)).remedy
    assert "become 7 x 7 x 2 voxels" in working_fault(own, (50.0, 50.0, 200.0)).found
    assert MOST_VOXELS > 512 * 512 * 800


def in_units(path, code):
    content = bytearray(path.read_bytes())
    struct.pack_into("<B", content, 123, code)
    path.write_bytes(bytes(content))
    return path


@pytest.mark.parametrize(("code", "factor"), [(0, 1), (2, 1), (3, 1000), (1, 0.001), (2 | 8, 1)])
def test_units_of_a_header_are_honoured(write_scan, code, factor):
    """Seconds, 8, are the units of the fourth axis, and say nothing of the others."""
    affine = np.diag([2.0 * factor, 2.0 * factor, 3.0 * factor, 1.0])
    affine[:3, 3] = np.array([10, 20, 30]) * factor
    volume = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    path = in_units(write_scan(volume, affine, name="scan.nii"), code)
    expected = PLAIN.copy()
    expected[:3, 3] = 10, 20, 30
    found = load_image(path)[1]
    np.testing.assert_allclose(found.affine, expected, rtol=1e-6)
    np.testing.assert_array_equal(load_grid(path).affine, found.affine)
    mask = in_units(write_scan(np.zeros(SHAPE, np.uint8), affine, name="mask.nii"), code)
    assert load_mask(mask, path, found).shape == SHAPE


def test_an_absurd_size_in_metres_says_so_and_a_mask_in_other_units_too(write_scan):
    volume = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    path = in_units(write_scan(volume, PLAIN, name="scan.nii"), 1)
    with pytest.raises(UserError, match=r"2000 x 2000 x 3000 mm \(its header gives them in metres"):
        load_image(path)
    good = write_scan(volume, PLAIN, name="good.nii")
    mask = in_units(write_scan(np.zeros(SHAPE, np.uint8), PLAIN, name="mask.nii"), 3)
    with pytest.raises(UserError, match=r"mm away .* \(its header is in micrometres\)"):
        load_mask(mask, good, load_grid(good))


def test_a_header_that_claims_more_than_memory_is_refused_unread(write_scan):
    path = write_scan(np.zeros(SHAPE, np.int16), name="scan.nii")
    content = bytearray(path.read_bytes())
    struct.pack_into("<4h", content, 40, 3, 32767, 32767, 32767)
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"at most 268,435,456 voxels"):
        load_image(path)
