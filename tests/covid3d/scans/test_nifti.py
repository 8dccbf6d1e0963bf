import contextlib

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.covid3d.common.errors import UserError
from examples.covid3d.scans.nifti import load_image, load_mask

VOLUME = np.random.default_rng(0).normal(-500, 300, (6, 5, 4)).astype(np.float32)
MASK = (VOLUME > -400).astype(np.uint8)


def test_a_scan_and_its_mask(write_scan):
    image = write_scan(VOLUME)
    volume, grid = load_image(image)
    np.testing.assert_array_equal(volume, VOLUME)
    assert grid.shape == (6, 5, 4)
    assert grid.spacing == (2.0, 2.0, 3.0)
    mask = load_mask(write_scan(MASK, name="mask.nii.gz"), image, grid)
    np.testing.assert_array_equal(mask, MASK)
    assert mask.dtype == np.uint8


def test_a_trailing_axis_of_one_is_dropped(write_scan):
    volume, _ = load_image(write_scan(VOLUME[..., None]))
    assert volume.shape == (6, 5, 4)


def refuses(path, *words):
    with pytest.raises(UserError) as caught:
        load_image(path)
    for word in (str(path), "Expected:", "To mend it:", *words):
        assert word in str(caught.value)


def test_missing_file(tmp_path):
    refuses(tmp_path / "gone.nii.gz", "no such file")


@pytest.mark.parametrize("keep", [0, 10, 120])
def test_truncated_file(write_scan, keep):
    path = write_scan(VOLUME)
    path.write_bytes(path.read_bytes()[:keep])
    refuses(path, "cannot be read")


def test_file_that_is_something_else(tmp_path):
    path = tmp_path / "scan.nii.gz"
    path.write_text("hello")
    refuses(path, "cannot be read")


def test_four_dimensions(write_scan):
    refuses(write_scan(np.zeros((4, 4, 4, 3), np.float32)), "(4, 4, 4, 3)", "single series")


def test_not_a_number(write_scan):
    broken = VOLUME.copy()
    broken[0, 0, 0] = np.nan
    refuses(write_scan(broken), "1 voxels that are NaN")


def mask_refused(write_scan, mask, affine, *words):
    image = write_scan(VOLUME)
    _, grid = load_image(image)
    path = write_scan(mask, affine, name="mask.nii.gz")
    with pytest.raises(UserError) as caught:
        load_mask(path, image, grid)
    for word in (str(path), "Expected:", "To mend it:", *words):
        assert word in str(caught.value)


def test_mask_of_another_shape(write_scan):
    mask_refused(write_scan, MASK[:, :, :3], None, "(6, 5, 3)", "(6, 5, 4)", "scan.nii.gz")


@pytest.mark.parametrize(
    "affine",
    [
        np.diag([2.0, 2.0, 3.5, 1.0]),
        np.diag([-2.0, 2.0, 3.0, 1.0]),
        np.array([[2.0, 0, 0, 5], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]]),
    ],
    ids=["spacing", "flip", "shift"],
)
def test_mask_with_another_affine(write_scan, affine):
    mask_refused(write_scan, MASK, affine, "affine", "mm away")


def test_mask_with_rounded_affine_passes(write_scan):
    image = write_scan(VOLUME)
    _, grid = load_image(image)
    affine = np.diag([2.00001, 2.0, 3.0, 1.0])
    load_mask(write_scan(MASK, affine, name="mask.nii.gz"), image, grid)


def test_mask_with_other_labels(write_scan):
    mask_refused(write_scan, MASK + MASK, None, "labels 0, 2")


LABELS = np.zeros((6, 5, 4), np.uint8)
LABELS[0], LABELS[1], LABELS[2] = 1, 2, 3


@pytest.mark.parametrize(
    ("foreground", "known"), [((2,), (1, 3)), ((1, 2, 3), None), ((3, 1), (0, 1, 2))]
)
def test_labels_of_choice_become_foreground(write_scan, foreground, known):
    image = write_scan(VOLUME)
    _, grid = load_image(image)
    path = write_scan(LABELS, name="mask.nii.gz")
    mask = load_mask(path, image, grid, foreground, known)
    expected = sum((label == LABELS).astype(np.uint8) for label in foreground)
    np.testing.assert_array_equal(mask, expected)
    assert mask.dtype == np.uint8


@pytest.mark.parametrize(
    ("foreground", "known", "unknown"), [((2,), None, "1, 3"), ((1,), (2,), "3"), ((1, 3), (), "2")]
)
def test_labels_that_are_not_known_are_named(write_scan, foreground, known, unknown):
    image = write_scan(VOLUME)
    _, grid = load_image(image)
    path = write_scan(LABELS, name="mask.nii.gz")
    with pytest.raises(UserError, match=rf"labels 0, 1, 2, 3 \(not known: {unknown}\)"):
        load_mask(path, image, grid, foreground, known)


@pytest.mark.parametrize("foreground", [(), (0,), (0, 1)])
def test_background_is_never_foreground(write_scan, foreground):
    image = write_scan(VOLUME)
    _, grid = load_image(image)
    with pytest.raises(UserError, match="foreground labels"):
        load_mask(write_scan(MASK, name="mask.nii.gz"), image, grid, foreground)


def coloured():
    found = np.zeros(VOLUME.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    found["R"] = 7
    return found


@pytest.mark.parametrize(
    "voxels", [coloured(), VOLUME.astype(np.complex64)], ids=["RGB", "complex"]
)
@pytest.mark.parametrize("mask", [False, True])
def test_voxels_that_are_no_intensities(tmp_path, write_scan, voxels, mask):
    path = tmp_path / "odd.nii.gz"
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([2.0, 2.0, 3.0, 1.0])), path)
    if not mask:
        refuses(path, "cannot be read", "voxels of type")
        return
    image = write_scan(VOLUME)
    with pytest.raises(UserError, match="voxels of type"):
        load_mask(path, image, load_image(image)[1])


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("stored") / "scan.nii"
    nibabel.save(nibabel.Nifti1Image(VOLUME, np.eye(4)), path)
    return path, path.read_bytes()


@given(st.dictionaries(st.integers(0, 351), st.integers(0, 255), min_size=1, max_size=6))
def test_a_damaged_header_is_an_error_of_the_user_s_or_none(stored, damage):
    """Never one of the reading library's."""
    path, content = stored
    damaged = bytearray(content)
    for at, byte in damage.items():
        damaged[at] = byte
    path.write_bytes(damaged)
    with contextlib.suppress(UserError):
        load_image(path)


# The number of axes, their lengths, the type of voxels, where they begin.
@pytest.mark.parametrize("at", [40, 42, 44, 70, 108])
def test_each_field_that_matters_is_damaged(stored, at):
    path, content = stored
    damaged = bytearray(content)
    damaged[at : at + 2] = b"\xff\xff" if at != 108 else b"\x00\x00"
    damaged[at + 2 : at + 4] = content[at + 2 : at + 4] if at != 108 else b"\xc0\x7f"
    path.write_bytes(damaged)
    refuses(path)
