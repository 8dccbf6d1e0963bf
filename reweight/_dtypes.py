"""Precision and range: what sums, squares and shares are computed in."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

_WIDE = (torch.float32, torch.float64)


def at_least_float32(values: Tensor) -> Tensor:
    """Return ``values`` in float32, or unchanged where they are wider already."""
    dtype = values.dtype
    if dtype in _WIDE:
        return values
    return values.to(torch.promote_types(dtype, torch.float32))


def widest(device: torch.device) -> torch.dtype:
    """Return the widest floating-point dtype that ``device`` has."""
    return torch.float32 if device.type == "mps" else torch.float64


def size_class(itemsize: int) -> int:
    """Return 2, 4 or 8, the keys of tables of tolerances, for the bytes of a number."""
    return min(8, max(2, itemsize))


def narrowest(tensors: Iterable[Tensor], default: int = 4) -> int:
    """Return the :func:`size_class` of the narrowest dtype, of a complex one by its real part.

    Args:
        tensors: The tensors.
        default: What to return if there are none.
    """
    return size_class(min((x.dtype.to_real().itemsize for x in tensors), default=default))


def squared(values: Tensor) -> Tensor:
    """Return the squared magnitude of each number, real or complex."""
    return values.abs().square() if values.is_complex() else values.square()


def largest_or_one(values: Tensor) -> Tensor:
    """Return the largest magnitude, a scalar, or 1 where all are zero.

    Divided by it, values can be squared and summed: none overflows, and not all vanish.
    """
    largest = values.abs().max()
    return torch.where(largest > 0, largest, torch.ones_like(largest))
