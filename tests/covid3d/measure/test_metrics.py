import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from examples.covid3d.measure import distances
from examples.covid3d.measure.distances import surface, surface_distances
from examples.covid3d.measure.metrics import compare, dice

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
    # Not the percentile of both directions together.
    expected = max(np.percentile(there, 95), np.percentile(back, 95))
    assert score.hd95 == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert score.dice == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
    assert not score.missed
    assert not score.false_alarm


@pytest.mark.parametrize("way", ["tree", "transform"])
@settings(deadline=None)
@given(
    a=masks,
    b=masks,
    spacing=spacings,
    before=st.tuples(*[st.integers(0, 4)] * 3),
    after=st.tuples(*[st.integers(0, 4)] * 3),
)
def test_either_way_and_whatever_is_cut_off_distances_are_those_of_brute_force(
    way, a, b, spacing, before, after
):
    assume(a.any() and b.any())
    margin = tuple(zip(before, after, strict=True))
    a, b = np.pad(a, margin), np.pad(b, margin)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distances, "_VOXELS_A_POINT", 0 if way == "tree" else 10**9)
        found = surface_distances(a, b, spacing)
    for ours, true in zip(found, brute_distances(a, b, spacing), strict=True):
        # Both list surface voxels in the order of their indices.
        np.testing.assert_allclose(ours, true, rtol=1e-9, atol=1e-9)


def test_masks_of_noise_take_no_tree(monkeypatch):
    def refuse(_):
        raise AssertionError("a search tree")

    noise = np.random.default_rng(0).random((2, 24, 24, 12)) > 0.7
    expected = compare(*noise, SPACING)
    monkeypatch.setattr(distances, "KDTree", refuse)
    assert compare(*noise, SPACING) == expected
    few = np.zeros((2, 24, 24, 12), bool)
    few[0, 0, 0, 0] = few[1, -1, -1, -1] = True
    with pytest.raises(AssertionError, match="a search tree"):
        compare(*few, SPACING)


@given(a=masks, b=masks)
def test_symmetric_and_zero_on_itself(a, b):
    one, other = compare(a, b, SPACING), compare(b, a, SPACING)
    assert (one.dice, one.hd, one.hd95) == (other.dice, other.hd, other.hd95)
    assert one.nsd == other.nsd
    itself = compare(a, a, SPACING)
    assert (itself.dice, itself.hd, itself.hd95, itself.nsd) == (1, 0, 0, 1)


@settings(deadline=None)
@given(a=masks, b=masks, spacing=spacings, tolerance=st.floats(0, 12))
def test_surface_dice_against_brute_force(a, b, spacing, tolerance):
    assume(a.any() and b.any())
    within = np.concatenate(brute_distances(a, b, spacing))
    assume(np.abs(within - tolerance).min() > 1e-3 or tolerance == 0)
    expected = (within <= tolerance).mean()
    assert compare(a, b, spacing, tolerance).nsd == pytest.approx(expected)


@given(a=masks, b=masks, one=st.floats(0, 20), other=st.floats(0, 20))
def test_surface_dice_grows_with_the_tolerance(a, b, one, other):
    low, high = sorted((one, other))
    assert compare(a, b, SPACING, low).nsd <= compare(a, b, SPACING, high).nsd
    assert 0 <= compare(a, b, SPACING, low).nsd <= 1
    reached = compare(a, b, SPACING)
    if a.any() and b.any():
        assert compare(a, b, SPACING, reached.hd).nsd == 1


# The last two are above 3 mm by the rounding of a float32, as spacings in NIfTI headers are.
@pytest.mark.parametrize(
    ("step", "voxels"),
    [(0.6, 5), (0.1, 30), (1.5, 2), (float(np.float32(1 / 7)), 21), (1.000001, 3)],
)
def test_the_tolerance_itself_is_within_it(step, voxels):
    a, b = np.zeros((40, 1, 1)), np.zeros((40, 1, 1))
    a[2], b[2 + voxels] = 1, 1
    assert compare(a, b, (step, 1, 1)).nsd == 1
    assert compare(a, b, (step, 1, 1), 2.999).nsd == 0


def test_surface_dice_by_hand():
    true, predicted = np.zeros((12, 1, 1)), np.zeros((12, 1, 1))
    true[:4], predicted[0], predicted[9] = 1, 1, 1
    # In a line of voxels all are surface: 0, 1, 2, 3 and 0, 9. At 2 mm each, within 3 mm of the
    # other: 0 and 1 of the truth, 0 of the prediction.
    assert compare(predicted, true, (2, 2, 2)).nsd == pytest.approx(3 / 6)


@pytest.mark.parametrize("tolerance", [-1, float("nan"), float("inf")])
def test_a_tolerance_that_makes_no_sense_is_refused(tolerance):
    with pytest.raises(ValueError, match="tolerance"):
        compare(np.ones(SHAPE), np.ones(SHAPE), SPACING, tolerance)


def test_both_empty_is_perfect():
    empty = np.zeros(SHAPE)
    score = compare(empty, empty, SPACING)
    assert (score.dice, score.hd, score.hd95, score.nsd) == (1, 0, 0, 1)
    assert not score.missed
    assert not score.false_alarm
    assert dice(empty, empty) == 1


def test_one_empty_costs_the_diagonal_and_is_counted():
    empty, full = np.zeros(SHAPE), np.ones(SHAPE)
    diagonal = np.linalg.norm(np.array(SHAPE) * SPACING)
    missed, alarm = compare(empty, full, SPACING), compare(full, empty, SPACING)
    for score in (missed, alarm):
        assert score.dice == 0
        assert score.nsd == 0
        assert score.hd == pytest.approx(diagonal)
        assert score.hd95 == pytest.approx(diagonal)
    assert (missed.missed, missed.false_alarm) == (True, False)
    assert (alarm.missed, alarm.false_alarm) == (False, True)


def test_missing_a_lesion_is_worse_than_any_attempt():
    lesion, attempt = np.zeros(SHAPE), np.zeros(SHAPE)
    lesion[0, 0, 0] = attempt[-1, -1, -1] = 1
    tried = compare(attempt, lesion, SPACING)
    assert tried.hd < compare(np.zeros(SHAPE), lesion, SPACING).hd


def two_balls():
    """Two blobs of some size, of which one touches the border of the volume."""
    x, y, z = np.indices((16, 14, 12))
    a = ((x - 7) ** 2 + (y - 6) ** 2 + 2 * (z - 6) ** 2) < 30
    b = ((x - 9) ** 2 + (y - 8) ** 2 + 2 * (z - 9) ** 2) < 45
    return a, b


@pytest.mark.parametrize("spacing", [SPACING, (0.7, 0.7, 7.0), (2.9, 1.1, 0.4)])
@pytest.mark.parametrize("seed", [0, 1, None])
def test_agrees_with_monai_where_neither_is_empty(seed, spacing):
    from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice

    noise = np.random.default_rng(seed or 0).random((2, 12, 10, 8))
    a, b = two_balls() if seed is None else noise > 0.8
    pair = [torch.from_numpy(mask)[None, None].float() for mask in (a, b)]
    score = compare(a, b, spacing)
    assert score.dice == pytest.approx(compute_dice(*pair, include_background=True).item())
    for percentile, ours in ((None, score.hd), (95, score.hd95)):
        theirs = compute_hausdorff_distance(
            *pair, include_background=True, percentile=percentile, spacing=list(spacing)
        )
        assert ours == pytest.approx(theirs.item(), rel=1e-5)
    values = set()
    for tolerance in (0.0, 1.25, 3.0, 6.5):
        theirs = compute_surface_dice(
            *pair, [tolerance], include_background=True, spacing=list(spacing)
        )
        values.add(compare(a, b, spacing, tolerance).nsd)
        assert compare(a, b, spacing, tolerance).nsd == pytest.approx(theirs.item())
    assert len(values) > 1
    assert score.nsd == compare(a, b, spacing, 3.0).nsd


def test_monai_weighs_surface_by_area_only_where_asked():
    """What the docstring says: subvoxels change MONAI's number, and then it is not ours."""
    from monai.metrics import compute_surface_dice

    pair = [torch.from_numpy(mask)[None, None].float() for mask in two_balls()]
    options = {"include_background": True, "spacing": [0.7, 0.7, 7.0]}
    area = compute_surface_dice(*pair, [3.0], use_subvoxels=True, **options).item()
    assert abs(area - compare(*two_balls(), (0.7, 0.7, 7.0)).nsd) > 0.01


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        compare(np.zeros((2, 2, 2)), np.zeros((2, 2, 3)), SPACING)
