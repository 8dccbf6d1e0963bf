"""PyTorch's fused root-mean-square norm, one operator on GPUs, on a CPU as well.

There it is made of single operators, so that its node in the graph, which rules go by, is never
seen. Given a kernel for the CPU, autograd records that node, and differentiates by its own formula.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F


def _forward(x: Tensor, sides: list[int], weight: Tensor | None, eps: float | None):
    dims = tuple(range(-len(sides), 0))
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    inverse = x.square().mean(dims, keepdim=True).add(eps).rsqrt()
    out = x * inverse
    return (out if weight is None else out * weight), inverse


def _backward(g: Tensor, x: Tensor, sides: list[int], inverse: Tensor, weight: Tensor | None, _):
    dims, lead = tuple(range(-len(sides), 0)), tuple(range(x.dim() - len(sides)))
    by_out = g if weight is None else g * weight
    out = x * inverse
    by_x = inverse * (by_out - out * (by_out * out).mean(dims, keepdim=True))
    return by_x, None if weight is None else (g * out).sum(lead)


@contextmanager
def fused_rms_norm() -> Iterator[None]:
    """Have the body's root-mean-square norms recorded as one node; skip where that is unknown."""
    library = torch.library.Library("aten", "IMPL")
    try:
        if not _recorded():  # on a GPU it is there already
            for name, kernel in (("", _forward), ("_backward", _backward)):
                try:
                    library.impl(f"_fused_rms_norm{name}", kernel, "CPU")
                except RuntimeError as error:
                    pytest.skip(f"this release has no such operator: {error}")
            if not _recorded():
                pytest.skip("this release makes no use of the operator")
        yield
    finally:
        library._destroy()


def _recorded() -> bool:
    x = torch.ones(1, 2, requires_grad=True)
    return F.rms_norm(x, (2,)).grad_fn.name() == "FusedRmsNormBackward0"
