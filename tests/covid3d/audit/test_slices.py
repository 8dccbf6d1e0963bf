"""Pictures: which slices, which way up, and what is drawn on them."""

import io

import numpy as np
import pytest
from PIL import Image

from examples.covid3d.audit.slices import DOUBT, GIVEN, MODEL, draw, worst_slices


def cube(shape, *corners):
    mask = np.zeros(shape, bool)
    for (x, y, z), side in corners:
        mask[x : x + side, y : y + side, z : z + side] = True
    return mask


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture.jpeg))).astype(int)


def near(shown, colour):
    return np.abs(shown - np.asarray(colour)).max(-1) < 60


def test_the_slices_with_most_in_doubt_are_chosen_apart_from_each_other():
    doubt = np.zeros((8, 8, 20), bool)
    for k, count in {4: 9, 5: 8, 12: 5, 19: 3}.items():
        doubt[: count // 3, :3, k] = True
    assert worst_slices(doubt, doubt, 3) == [4, 5, 12]
    doubt[:2, 0, 0:20] = True
    assert worst_slices(doubt, doubt, 3) == [4, 12, 19]


def test_without_doubt_the_slices_with_most_of_the_masks_are_shown():
    shown = cube((8, 8, 9), ((2, 2, 6), 2))
    assert worst_slices(np.zeros_like(shown), shown, 1) == [6]


def test_an_empty_mask_and_an_empty_prediction_show_the_middle():
    nothing = np.zeros((8, 8, 9), bool)
    assert worst_slices(nothing, nothing) == [4]


def test_right_is_on_the_left_and_front_is_up():
    shape = (40, 40, 4)
    given = cube(shape, ((30, 4, 0), 6))  # the patient's left (RAS+), at the back
    picture = draw("a", np.zeros(shape, np.float32), given, given, (1, 1, 1), count=1)
    rows, columns = np.nonzero(near(pixels(picture), GIVEN))
    assert rows.mean() > picture.height / 2
    assert columns.mean() < picture.width / 2


def test_both_outlines_and_the_doubt_are_drawn():
    shape = (40, 40, 6)
    given, model = cube(shape, ((5, 5, 1), 4)), cube(shape, ((20, 20, 1), 4))
    shown = pixels(draw("a", np.zeros(shape, np.float32), given, model, (1, 1, 1)))
    assert near(shown, GIVEN).any()
    assert near(shown, MODEL).any()
    assert near(shown, np.asarray(DOUBT) / 2).sum() > 100


@pytest.mark.parametrize("shape", [(1, 1, 1), (300, 20, 2), (20, 300, 2)])
def test_odd_shapes_are_drawn(shape):
    given = np.zeros(shape, bool)
    given[0, 0, 0] = True
    picture = draw("a", np.zeros(shape, np.float32), given, ~given, (1, 2, 3))
    assert pixels(picture).shape == (picture.height, picture.width, 3)
    assert picture.width < 2000


def test_a_large_plane_is_cut_to_the_masks():
    shape = (400, 400, 3)
    given = cube(shape, ((350, 350, 0), 3))
    shown = pixels(draw("a", np.zeros(shape, np.float32), given, given, (1, 1, 1), count=1))
    # Of 300 pixels, three voxels of 400 would be two wide.
    assert near(shown, GIVEN).any(0).sum() > 10


def test_the_words_beside_a_picture_say_what_it_shows():
    given = cube((9, 9, 9), ((1, 1, 1), 2))
    words = draw("a$x_$<b>", np.zeros((9, 9, 9), np.float32), given, ~given, (1, 1, 1)).alternative
    assert "a$x_$<b>" in words
    assert "given mask 8 voxels" in words
