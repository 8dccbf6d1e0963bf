"""Which tolerance is whose."""

from __future__ import annotations

import pytest
import torch

from reweight._dtypes import narrowest, size_class


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        ([torch.float64], 8),
        ([torch.float64, torch.float32], 4),
        ([torch.float32, torch.bfloat16, torch.float64], 2),
        ([torch.complex128], 8),
        ([torch.float64, torch.complex64], 4),
        ([], 4),
    ],
)
def test_the_narrowest_dtype_decides_a_complex_one_by_its_real_part(dtypes, expected):
    assert narrowest(torch.zeros(2, dtype=dtype) for dtype in dtypes) == expected


def test_without_tensors_it_is_what_was_said():
    assert narrowest([], default=8) == 8


def test_narrower_than_half_counts_as_half_and_wider_than_double_as_double():
    assert [size_class(itemsize) for itemsize in (1, 2, 4, 8, 16)] == [2, 2, 4, 8, 8]
