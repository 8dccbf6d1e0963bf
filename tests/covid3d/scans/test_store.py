import numpy as np
import pytest

from examples.covid3d.scans.geometry import Grid
from examples.covid3d.scans.store import StoredScan, write_labels, write_scan


def test_foreground_is_what_is_labelled_1_and_nothing_else(tmp_path):
    """Rows may write labels of their own, as 2 for voxels that they ignore."""
    mask = np.array([[[0, 1, 2], [2, 1, 0]]], np.uint8)
    write_labels(tmp_path, mask)
    scan = StoredScan("a", tmp_path, tmp_path)
    np.testing.assert_array_equal(scan.mask, mask)
    np.testing.assert_array_equal(scan.foreground, [1, 4])


def test_a_scan_survives_the_disk(tmp_path):
    image = np.random.default_rng(0).random((4, 3, 2), dtype=np.float32)
    grids = {
        "grid": Grid((4, 3, 2), np.diag([1.0, 2, 3, 1])),
        "own_grid": Grid((8, 3, 2), np.eye(4)),
    }
    write_scan(tmp_path / "a", image, None, grids, {"key": 1})
    scan = StoredScan("a", tmp_path / "a")
    np.testing.assert_array_equal(scan.image, image)
    assert scan.grid.spacing == (1.0, 2.0, 3.0)
    assert scan.own_grid.shape == (8, 3, 2)
    with pytest.raises(ValueError, match="a has no labels"):
        _ = scan.mask


def test_half_a_scan_is_never_there(tmp_path):
    with pytest.raises(TypeError):
        write_scan(tmp_path / "a", np.zeros((2, 2, 2), np.float32), None, {}, {"x": object()})
    assert list(tmp_path.iterdir()) == []
