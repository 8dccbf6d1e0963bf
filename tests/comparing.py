"""What it means for two tensors to be the same."""

from __future__ import annotations

import torch
from torch import Tensor


def assert_same(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Equal shapes, and a difference below `tolerance` times the largest expected magnitude."""
    assert actual.shape == expected.shape, f"shape {actual.shape} is not {expected.shape}"
    assert torch.isfinite(expected).all(), "the expected values are not finite"
    actual, expected = actual.detach().double(), expected.detach().double()
    difference = (actual - expected).abs().max().item()
    largest = expected.abs().max().item()
    assert difference <= tolerance * largest, (
        f"differs by {difference:.3g}, {difference / max(largest, 1e-300):.3g} of the largest\n"
        f"actual   {actual}\nexpected {expected}"
    )
