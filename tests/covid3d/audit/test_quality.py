"""Masks that are wrong are found, and what is said of them is what was done to them."""

import math

import numpy as np
import pytest

from examples.covid3d.audit.doubt import DOUBTS
from examples.covid3d.audit.drawing import Drawing, doubtful_voxels
from examples.covid3d.audit.faults import FAULTS
from examples.covid3d.audit.parts import best_shift, measure
from examples.covid3d.audit.quality import assess
from tests.covid3d.audit.bodies import SHAPE, SPACING, drawing, drawn, labels

TRUSTED = [drawing(seed) for seed in range(20, 30)]


def assessed(*drawings):
    return assess(drawings, TRUSTED)


def faulty(kind, seed):
    others = [labels(other, SHAPE) for other in (90, 91)]
    return drawing(seed, FAULTS[kind](labels(seed), others, np.random.default_rng(seed)))


def test_sound_masks_are_of_quality_and_nothing_is_doubted():
    found = assessed(*(drawing(seed) for seed in range(12)))
    assert sum(one.quality < 0.5 for one in found) <= 1
    assert [one.scan for one in found] == [f"scan{seed}" for seed in range(12)]
    assert all(one.doubt == "none" for one in found if one.quality >= 0.5)


@pytest.mark.parametrize(
    ("kind", "doubt"),
    [
        ("mirrored left-right", "mirrored"),
        ("mirrored front-back", "mirrored"),
        ("shifted by 2 voxels", "shifted"),
        ("shifted by 3 voxels", "shifted"),
        ("anterior part missing", "missed"),
        ("posterior part missing", "missed"),
        ("over-drawn by 1 voxel", "over-drawn"),
        ("over-drawn by 2 voxels", "over-drawn"),
        ("under-drawn by 1 voxel", "under-drawn"),
        ("empty", "empty"),
    ],
)
def test_gross_faults_are_found_and_named(kind, doubt):
    sound = min(one.quality for one in assessed(*(drawing(seed) for seed in range(4))))
    for found in assessed(*(faulty(kind, seed) for seed in range(4))):
        assert found.quality < min(0.5, sound)
        assert found.doubt == doubt
        assert found.words


def test_a_mask_that_lies_elsewhere_is_another_patient_s():
    elsewhere = np.zeros(SHAPE, np.uint8)
    elsewhere[22:28, 2:8, 20:26] = 1
    (found,) = assessed(drawing(0, elsewhere))
    assert found.doubt == "another"
    assert found.quality < 0.01


def test_a_part_drawn_where_none_is_expected_is_invented():
    mask = (labels(0) > 0).astype(np.uint8)
    mask[20:27, 4:12, 14:22] = 1
    (found,) = assessed(drawing(0, mask))
    assert found.doubt == "invented"


def test_a_mask_as_smooth_as_a_network_s_is_doubted_as_such():
    found = assessed(*(drawing(seed, (drawn(seed) > 0.5).astype(np.uint8)) for seed in range(4)))
    assert {one.doubt for one in found} == {"smooth"}


def test_empty_beside_empty_agrees():
    nothing = Drawing("healthy", np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.float32), SPACING)
    (found,) = assessed(nothing)
    assert found.parts.agreement == 1
    assert math.isnan(found.parts.shift_mm)
    assert found.doubt == "none"


def test_quality_is_a_half_where_the_distance_x():
    found = assessed(*(drawing(seed) for seed in range(6)), faulty("empty", 0))
    for one in found:
        assert 0 <= one.quality <= 1
        assert (one.quality >= 0.5) == (one.distance <= 2.5) == (one.doubt == "none")
        assert one.distance == pytest.approx(math.hypot(*one.beyond.values()))


def test_a_row_of_the_table_has_the_columns_in_order():
    (found,) = assessed(drawing(1))
    assert list(found.to_row()) == [
        "scan", "quality", "doubt", "words", "distance",
        "agreement", "shift_mm", "volume_ratio", "roughness", "memory", "loss",
    ]  # fmt: skip
    assert found.doubt in DOUBTS


def test_what_a_network_is_sure_of_is_in_doubt_where_the_mask_says_otherwise():
    probability = np.asarray([0.95, 0.5, 0.05, 0.95, 0.5, 0.05], np.float32).reshape(6, 1, 1)
    given = np.asarray([0, 0, 0, 1, 1, 1], np.uint8).reshape(6, 1, 1)
    doubt = doubtful_voxels(Drawing("a", given, probability, SPACING))
    assert doubt.ravel().tolist() == [1, 0, 0, 0, 0, 2]


@pytest.mark.parametrize("shift", [(0, 0, 0), (2, 0, 0), (0, -3, 1)])
def test_the_best_shift_is_the_one_that_was_made(shift):
    mask = labels(5) > 0
    at, agreement = best_shift(np.roll(mask, shift, (0, 1, 2)), mask)
    assert at == tuple(-step for step in shift)
    assert agreement == pytest.approx(1)


def test_parts_are_measured_in_millimetres():
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[5:10, 5:10, 5:10] = 1
    expected = np.roll(mask, (2, 0, 1), (0, 1, 2)).astype(np.float32)
    parts = measure(Drawing("a", mask, expected, (0.5, 1.0, 3.0)))
    assert parts.shift_mm == pytest.approx(math.hypot(1.0, 3.0), abs=1e-3)
    assert parts.volume_ratio == pytest.approx(1)
    assert parts.agreement == pytest.approx(3 * 4 / 25)


def test_grids_that_differ_and_a_single_trusted_mask_are_refused():
    with pytest.raises(ValueError, match="expected one grid"):
        Drawing("a", np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2, 3), np.float32), SPACING)
    with pytest.raises(ValueError, match="at least 2"):
        assess([drawing(0)], TRUSTED[:1])
