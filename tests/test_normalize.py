"""g of Eq. 5 and 7, against exact rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from reweight import normalize

single = st.floats(width=32, allow_nan=False, allow_infinity=False)
lists = st.lists(single, min_size=1, max_size=40)


def exact(scores: torch.Tensor) -> list[Fraction]:
    positive = [max(Fraction(value), Fraction(0)) for value in scores.double().tolist()]
    total = sum(positive)
    return [value / total if total else Fraction(0) for value in positive]


def assert_close(actual: torch.Tensor, expected: list[Fraction], dtype=torch.float32) -> None:
    """Within a few units in the last place, and the smallest number there is."""
    info = torch.finfo(dtype)
    ulps = Fraction(info.eps) * (len(expected) + 8)
    least = Fraction(info.smallest_normal) * Fraction(info.eps) * 2
    for value, truth in zip(actual.double().reshape(-1).tolist(), expected, strict=True):
        assert abs(Fraction(value) - truth) <= ulps * truth + least


@given(lists)
def test_equals_exact_arithmetic(values):
    scores = torch.tensor(values, dtype=torch.float32)
    assert_close(normalize(scores), exact(scores))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_equals_exact_arithmetic_in_double_precision(values):
    scores = torch.tensor(values, dtype=torch.float64)
    weights = normalize(scores)
    assert weights.dtype == torch.float64
    assert_close(weights, exact(scores), torch.float64)


@given(lists)
def test_weights_are_not_negative_and_sum_to_one_or_are_all_zero(values):
    weights = normalize(torch.tensor(values, dtype=torch.float32))
    assert bool((weights >= 0).all())
    if any(value > 0 for value in values):
        assert weights.double().sum().item() == pytest.approx(1, rel=1e-5)
    else:
        assert not weights.any()


@given(
    lists.flatmap(lambda values: st.tuples(st.just(values), st.permutations(range(len(values)))))
)
def test_order_does_not_matter(pair):
    values, order = pair
    scores = torch.tensor(values, dtype=torch.float32)
    torch.testing.assert_close(
        normalize(scores[order]), normalize(scores)[order], rtol=1e-5, atol=1e-44
    )


@given(
    st.lists(st.integers(-(2**11), 2**11), min_size=1, max_size=40),
    st.integers(-149, 115),
    st.integers(-149, 115),
)
def test_scale_does_not_matter(values, one, other):
    """Integers times a power of two are exact in float32, down to the subnormals."""
    scaled = [
        torch.tensor([math.ldexp(value, power) for value in values], dtype=torch.float32)
        for power in (one, other)
    ]
    for scores, power in zip(scaled, (one, other), strict=True):
        assert scores.double().tolist() == [math.ldexp(value, power) for value in values]
        assert_close(normalize(scores), exact(scores))
    torch.testing.assert_close(normalize(scaled[0]), normalize(scaled[1]), rtol=1e-5, atol=1e-44)


@given(lists, st.integers(-252, 252))
def test_what_scaling_rounds_away_is_gone_but_nothing_else(values, power):
    scores = torch.tensor([math.ldexp(v, power) for v in values], dtype=torch.float64).float()
    assume(torch.isfinite(scores).all())
    assert_close(normalize(scores), exact(scores))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("edge", ["smallest", "largest"])
def test_the_edges_of_every_type(dtype, edge):
    info = torch.finfo(dtype)
    value = info.max if edge == "largest" else info.smallest_normal * info.eps
    for count in (1, 3, 1000):
        scores = torch.full((count,), value, dtype=torch.float64).to(dtype)
        assert bool((scores > 0).all())
        weights = normalize(scores)
        assert weights.dtype == torch.promote_types(dtype, torch.float32)
        torch.testing.assert_close(weights.double(), torch.full((count,), 1 / count).double())


def test_any_shape():
    scores = torch.randn(3, 2, 4)
    assert torch.equal(normalize(scores), normalize(scores.flatten()).reshape(3, 2, 4))
    assert normalize(torch.tensor(2.0)).item() == 1


def test_the_argument_is_left_alone():
    scores = torch.tensor([-1.0, 2.0, 3.0])
    normalize(scores)
    assert scores.tolist() == [-1.0, 2.0, 3.0]


@pytest.mark.parametrize("values", [[-1.0, -2.0], [0.0, 0.0], [-0.0], [-3e38, -1e-45]])
def test_nothing_positive_is_all_zero(values):
    weights = normalize(torch.tensor(values))
    assert weights.tolist() == [0.0] * len(values)


def test_no_scores():
    assert normalize(torch.empty(0)).shape == (0,)


def test_integers_are_scores_too():
    assert normalize(torch.tensor([1, 3, -2])).tolist() == [0.25, 0.75, 0.0]
