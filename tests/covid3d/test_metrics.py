import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from examples.covid3d.distances import surface
from examples.covid3d.metrics import compare, dice

SHAPE = (5, 6, 4)
SPACING = (1.6, 0.9, 3.2)
masks = arrays(bool, SHAPE)
spacings = st.tuples(*[st.floats(0.3, 7.0)] * 3)


def brute_surface(mask):
    """Voxels with at least one of six neighbours outside the mask."""
    edge = []
    for index in np.argwhere(mask):
        for axis in range(3):
            for shift in (-1, 1):
                other = index.copy()
                other[axis] += shift
                outside = (other < 0).any() or (other >= mask.shape).any()
                if outside or not mask[tuple(other)]:
                    edge.append(tuple(index))
    return np.array(sorted(set(edge)))


def brute_distances(a, b, spacing):
    from_a, from_b = brute_surface(a) * np.array(spacing), brute_surface(b) * np.array(spacing)
    distance = np.linalg.norm(from_a[:, None] - from_b[None], axis=-1)
    return distance.min(1), distance.min(0)


@given(mask=masks)
def test_surface_is_where_a_neighbour_is_missing(mask):
    assert {tuple(i) for i in np.argwhere(surface(mask))} == set(map(tuple, brute_surface(mask)))


@settings(deadline=None)
@given(a=masks, b=masks, spacing=spacings)
def test_against_brute_force(a, b, spacing):
    score = compare(a, b, spacing)
    if not a.any() or not b.any():
        return
    there, back = brute_distances(a, b, spacing)
    assert score.hd == pytest.approx(max(there.max(), back.max()), rel=1e-5, abs=1e-5)
    expected = max(np.percentile(there, 95), np.percentile(back, 95))
    assert score.hd95 == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert score.dice == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
    assert not score.missed
    assert not score.false_alarm


@given(a=masks, b=masks)
def test_symmetric_and_zero_on_itself(a, b):
    one, other = compare(a, b, SPACING), compare(b, a, SPACING)
    assert (one.dice, one.hd, one.hd95) == (other.dice, other.hd, other.hd95)
    itself = compare(a, a, SPACING)
    assert (itself.dice, itself.hd, itself.hd95) == (1, 0, 0)


def test_both_empty_is_perfect():
    empty = np.zeros(SHAPE)
    score = compare(empty, empty, SPACING)
    assert (score.dice, score.hd, score.hd95) == (1, 0, 0)
    assert not score.missed
    assert not score.false_alarm
    assert dice(empty, empty) == 1


def test_one_empty_costs_the_diagonal_and_is_counted():
    empty, full = np.zeros(SHAPE), np.ones(SHAPE)
    diagonal = np.linalg.norm(np.array(SHAPE) * SPACING)
    missed, alarm = compare(empty, full, SPACING), compare(full, empty, SPACING)
    for score in (missed, alarm):
        assert score.dice == 0
        assert score.hd == pytest.approx(diagonal)
        assert score.hd95 == pytest.approx(diagonal)
    assert (missed.missed, missed.false_alarm) == (True, False)
    assert (alarm.missed, alarm.false_alarm) == (False, True)


def test_missing_a_lesion_is_worse_than_any_attempt():
    lesion, attempt = np.zeros(SHAPE), np.zeros(SHAPE)
    lesion[0, 0, 0] = attempt[-1, -1, -1] = 1
    tried = compare(attempt, lesion, SPACING)
    assert tried.hd < compare(np.zeros(SHAPE), lesion, SPACING).hd


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_monai_where_neither_is_empty(seed):
    pytest.importorskip("scipy", reason="MONAI's Hausdorff distance needs SciPy")
    from monai.metrics import compute_dice, compute_hausdorff_distance

    rng = np.random.default_rng(seed)
    a, b = rng.random((2, 12, 10, 8)) > 0.8
    pair = [torch.from_numpy(mask)[None, None].float() for mask in (a, b)]
    score = compare(a, b, SPACING)
    assert score.dice == pytest.approx(compute_dice(*pair, include_background=True).item())
    for percentile, ours in ((None, score.hd), (95, score.hd95)):
        theirs = compute_hausdorff_distance(
            *pair, include_background=True, percentile=percentile, spacing=list(SPACING)
        )
        assert ours == pytest.approx(theirs.item(), rel=1e-5)


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        compare(np.zeros((2, 2, 2)), np.zeros((2, 2, 3)), SPACING)
