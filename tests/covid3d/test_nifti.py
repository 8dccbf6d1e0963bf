import numpy as np
import pytest

from examples.covid3d.errors import UserError
from examples.covid3d.nifti import load_image, load_mask

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
