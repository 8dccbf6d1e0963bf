"""Variance and standard deviation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reweight._derivative.beside_training.call import Call

VARIANCES = (torch.var, Tensor.var)
DEVIATIONS = (torch.std, Tensor.std)


def variance(call: Call) -> Tensor | None:
    """2 / (n − c) Σ (x − mean) ẋ, c the correction."""
    if not call.args or (dx := call.tangent(call.args[0])) is None:
        return None
    x, dim, correction, keepdim = _arguments(*call.args, **call.kwargs)
    if x.is_complex():
        return None
    dims = tuple(range(x.dim())) if dim in (None, ()) else dim
    mean = x.mean(dims, keepdim=True)
    moved: Tensor = (x - mean).mul_(dx).sum(dims, keepdim=keepdim)
    count = x.numel() / max(mean.numel(), 1)
    return moved.mul_(2 / (count - correction)) if count > correction else None


def deviation(call: Call) -> Tensor | None:
    """The variance's, over twice the deviation."""
    moved = variance(call)
    return None if moved is None else moved.div_(call.out).mul_(0.5)


def _arguments(
    x: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Any, float, bool]:
    if isinstance(dim, bool):  # var(unbiased)
        dim, unbiased = None, dim
    if correction is None:
        correction = 0 if unbiased is False else 1
    return x, dim, correction, keepdim
