"""Rectify, TopK and KeepAll."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reweight import KeepAll, Rectify, TopK, normalize

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
weights_of = st.lists(
    st.floats(0, 1, width=32, allow_subnormal=False), min_size=1, max_size=30
).map(lambda values: normalize(torch.tensor(values, dtype=torch.float32)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rectify_keeps_every_uniform_batch_whole(dtype):
    rectify = Rectify()
    for count in range(1, 4097):
        weights = torch.full((count,), 1 / count, dtype=dtype)
        assert bool((rectify(weights) > 0).all()), count


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rectify_keeps_uniform_weights_however_they_were_computed(dtype):
    rectify = Rectify()
    for count in range(1, 4097):
        ones = torch.ones(count, dtype=dtype)
        part = normalize(ones * 0.1)
        for weights in (normalize(ones), 0.3 * part + 0.7 * part, normalize(ones / 3)):
            assert bool((rectify(weights) > 0).all()), count


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [2, 3, 5, 7, 64, 100, 1000])
def test_rectify_keeps_nothing_below_the_threshold(dtype, count):
    """Nothing beyond a few units in the last place."""
    eps = torch.finfo(dtype).eps
    threshold = torch.tensor(1 / count, dtype=torch.float64)
    for ulps in (16, 64):
        below = (threshold * (1 - ulps * eps)).to(dtype)
        above = (threshold * (1 + ulps * eps)).to(dtype)
        weights = torch.full((count,), float(below), dtype=dtype)
        weights[0] = above
        kept = Rectify()(weights)
        assert kept[0] == above
        assert not kept[1:].any()


@given(weights_of)
def test_rectify_changes_no_weight_it_keeps(weights):
    kept = Rectify()(weights)
    threshold = 1 / weights.numel()
    assert torch.equal(kept[kept > 0], weights[kept > 0])
    assert bool((weights[kept == 0] <= threshold * (1 + 1e-5)).all())
    assert bool((kept[kept > 0] >= threshold * (1 - 1e-5)).all())


@given(weights_of)
def test_rectify_keeps_at_least_one_of_a_batch_that_sums_to_one(weights):
    assert bool(Rectify()(weights).any()) == bool(weights.any())


def test_rectify_with_a_threshold_of_its_own():
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4])
    assert Rectify(0.3)(weights).tolist() == pytest.approx([0, 0, 0.3, 0.4])
    assert Rectify(threshold=0.0)(weights).tolist() == weights.tolist()


def test_rectify_of_nothing():
    assert not Rectify()(torch.zeros(3)).any()


@pytest.mark.parametrize("selector", [Rectify(), KeepAll(), TopK(2), TopK(0.5)])
def test_selectors_leave_their_argument_alone(selector):
    weights = torch.tensor([0.5, 0.1, 0.4])
    selector(weights)
    assert weights.tolist() == torch.tensor([0.5, 0.1, 0.4]).tolist()


@given(weights_of)
def test_keep_all(weights):
    assert torch.equal(KeepAll()(weights), weights)


@given(weights_of, st.integers(1, 40))
def test_top_k(weights, k):
    kept = TopK(k)(weights)
    expected = min(k, int((weights > 0).sum()))
    assert int((kept > 0).sum()) == expected
    assert torch.equal(kept[kept > 0], weights[kept > 0])
    if 0 < expected < len(weights):
        assert kept[kept > 0].min() >= weights[kept == 0].max()


@pytest.mark.parametrize(
    ("fraction", "count", "kept"), [(0.5, 4, 2), (0.25, 4, 1), (1.0, 5, 5), (0.01, 5, 1)]
)
def test_top_fraction(fraction, count, kept):
    weights = normalize(torch.arange(1.0, count + 1))
    selected = TopK(fraction)(weights)
    assert int((selected > 0).sum()) == kept
    assert bool((selected[-kept:] > 0).all())


@pytest.mark.parametrize("k", [0, -1, 0.0, 1.5, -0.5])
def test_top_k_refuses_what_selects_nothing(k):
    with pytest.raises(ValueError, match="k"):
        TopK(k)
