"""Sums over pieces are the whole product."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reweight import _long_products
from reweight._long_products import in_pieces, over_places

SIZES = st.integers(1, 5)


@given(SIZES, SIZES, SIZES, st.integers(1, 40), st.data())
def test_pieces_add_up(number, rows, others, places, data):
    pieces = data.draw(st.integers(1, places))
    z = torch.randn(number, rows, places, dtype=torch.float64)
    a = torch.randn(number, others, places, dtype=torch.float64)
    torch.testing.assert_close(in_pieces(z, a, pieces), z @ a.mT)


def test_views_of_a_larger_tensor_may_be_multiplied():
    z, a = (torch.randn(2, 3, 50, dtype=torch.float64) for _ in range(2))
    z, a = z[..., :43], a[..., 7:]
    torch.testing.assert_close(in_pieces(z, a, 4), z @ a.mT)


@pytest.mark.parametrize("places", [100, 4095, 4096, 9000])
def test_few_places_are_not_cut(monkeypatch, places):
    cut = []
    monkeypatch.setattr(_long_products, "in_pieces", lambda z, a, n: cut.append(n) or z @ a.mT)
    z, a = torch.randn(2, 3, places, device="meta"), torch.randn(2, 4, places, device="meta")
    assert over_places(z, a).shape == (2, 3, 4)
    assert cut == ([places // 2048] if places >= 4096 else [])


def test_a_cpu_needs_no_pieces(monkeypatch):
    monkeypatch.setattr(_long_products, "in_pieces", None)
    z, a = (torch.randn(2, 3, 9000, device="cpu") for _ in range(2))
    torch.testing.assert_close(over_places(z, a), z @ a.mT)
