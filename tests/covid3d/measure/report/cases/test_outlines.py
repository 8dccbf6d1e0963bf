"""The path encloses the mask's pixels and no others."""

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from examples.covid3d.measure.report.cases.outlines import outline


def filled(path, shape):
    """Pixels inside a path by the even-odd rule: how many of its edges lie to their left."""
    crossings = np.zeros(shape, int)
    for loop in re.findall(r"M[^z]*z", path):
        x, y = (int(n) for n in re.match(r"M(\d+) (\d+)", loop).groups())
        corners = [(x, y)]
        for axis, step in re.findall(r"([hv])(-?\d+)", loop):
            x, y = (x + int(step), y) if axis == "h" else (x, y + int(step))
            corners.append((x, y))
        for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True):
            assert x1 == x2 or y1 == y2
            if x1 == x2:
                crossings[min(y1, y2) : max(y1, y2), x1:] += 1
    return crossings % 2 == 1


@given(mask=arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7))))
def test_filling_the_path_gives_the_mask_back(mask):
    assert np.array_equal(filled(outline(mask), mask.shape), mask)


def test_one_pixel_and_none():
    assert outline(np.zeros((3, 3))) == ""
    mask = np.zeros((3, 4), bool)
    mask[1, 2] = True
    assert outline(mask) == "M2 1h1v1h-1z"


def test_a_straight_edge_is_one_stretch():
    assert outline(np.ones((20, 30))) == "M0 0h30v20h-30z"
