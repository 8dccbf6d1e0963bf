"""What the viewer scrolls through is the scan, the right way up, and small."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from examples.covid3d.measure.report.cases.slices import cut_slices


def block(shape, *bounds):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*pair) for pair in bounds)] = True
    return mask


def tile(slices, index):
    sprite = np.asarray(Image.open(io.BytesIO(base64.b64decode(slices.sprite))).convert("L"))
    row, column = divmod(index, slices.columns)
    top, left = row * slices.height, column * slices.width
    return sprite[top : top + slices.height, left : left + slices.width]


def test_front_is_up_and_the_patients_right_on_the_left():
    shape = (40, 50, 6)
    mask = block(shape, (30, 38), (40, 48), (3, 5))
    slices = cut_slices(mask.astype(np.float32), [mask], (3.0, 3.0, 5.0))
    picture = tile(slices, slices.start) > 128
    rows, columns = np.nonzero(picture)
    # In RAS+ the highest x is the patient's right and the highest y the front.
    assert rows.mean() < slices.height / 2
    assert columns.mean() < slices.width / 2
    assert f"M{columns.min()} {rows.min()}h8v8h-8z" == slices.paths[0][slices.start]


def test_slices_are_numbered_as_in_the_scan_and_start_where_the_expert_marked_most():
    shape = (30, 30, 60)
    expert = block(shape, (10, 14), (10, 14), (20, 25)) | block(shape, (8, 20), (8, 20), (22, 23))
    other = block(shape, (10, 12), (10, 12), (18, 30))
    slices = cut_slices(np.zeros(shape, np.float32), [expert, other], (4.0, 4.0, 5.0))
    assert (slices.numbers[0], slices.numbers[-1], slices.of) == (17, 32, 60)
    assert slices.numbers[slices.start] == 23
    assert [len(own) for own in slices.paths] == [len(slices.numbers)] * 2
    assert not slices.paths[0][0]


@pytest.mark.parametrize("empty", [True, False])
def test_a_large_scan_is_small_on_the_page(empty):
    shape = (300, 300, 120)
    mask = block(shape, (20, 280), (30, 270), (0, 120)) & (not empty)
    noise = np.random.default_rng(0).random(shape, dtype=np.float32)
    slices = cut_slices(noise, [mask], (0.8, 0.8, 1.0))
    assert max(slices.width, slices.height) <= 176
    assert len(slices.numbers) == 32
    assert list(slices.numbers) == sorted(set(slices.numbers))
    assert bool(slices.paths[0][slices.start]) is not empty


def test_voxels_that_are_not_square_are_drawn_as_long_as_they_are():
    shape = (40, 80, 3)
    mask = np.ones(shape, bool)
    slices = cut_slices(np.zeros(shape, np.float32), [mask], (4.0, 1.0, 1.0))
    assert slices.width == pytest.approx(2 * slices.height, abs=1)
