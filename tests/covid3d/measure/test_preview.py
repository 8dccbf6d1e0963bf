"""The picture of a prediction: the slice with most of it, outlined."""

import numpy as np
import pytest
from PIL import Image

from examples.covid3d.measure.preview import draw_preview
from examples.covid3d.scans.geometry import Grid
from tests.covid3d.running import small

AFFINES = {"RAS": np.diag([2.0, 2.0, 4.0, 1.0]), "LPI": np.diag([-2.0, -2.0, -4.0, 1.0])}


def red(path):
    """How much of the picture has the outline's colour, left and right half."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    found = (pixels[..., 0] > 180) & (pixels[..., 1] < 110) & (pixels[..., 2] < 110)
    half = found.shape[1] // 2
    return int(found[:, :half].sum()), int(found[:, half:].sum())


def draw(tmp_path, mask, orientation="RAS", name="a$x_$b"):
    """A scan whose one bright slice is the one with most of the mask."""
    volume = np.full(mask.shape, -900, np.float32)
    if mask.any():
        volume[:, :, mask.sum((0, 1)).argmax()] = 0
    path = tmp_path / "p.png"
    grid = Grid(mask.shape, AFFINES[orientation])
    draw_preview(volume, mask, grid, small(window=(-1000.0, 0.0)), name, path)
    return path


@pytest.mark.parametrize("orientation", AFFINES)
def test_the_slice_with_most_of_the_mask_is_shown_with_its_outline_on_the_right(
    tmp_path, orientation
):
    mask = np.zeros((30, 26, 9), np.uint8)
    mask[10:20, 8:18, 6] = 1
    mask[12:14, 8:10, 2] = 1
    path = draw(tmp_path, mask, orientation)
    left, right = red(path)
    assert left == 0
    assert right > 50
    # The bright slice is the one that was meant.
    pixels = np.asarray(Image.open(path).convert("L"))
    middle = pixels[pixels.shape[0] // 2 : -20, 20 : pixels.shape[1] // 2 - 20]
    assert middle.min() > 240


def test_an_empty_mask_has_a_picture_without_an_outline(tmp_path):
    assert red(draw(tmp_path, np.zeros((20, 20, 8), np.uint8))) == (0, 0)


def test_a_mask_that_fills_the_slice_is_outlined_at_the_edge(tmp_path):
    mask = np.zeros((20, 20, 8), np.uint8)
    mask[:, :, 3] = 1
    assert red(draw(tmp_path, mask))[1] > 50
