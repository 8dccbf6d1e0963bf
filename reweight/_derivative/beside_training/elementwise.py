"""Activations, sums, and operators that are linear in their only differentiable input."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from reweight._derivative.beside_training.call import Call

RELUS = (F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)
SUMS = (
    torch.add,
    Tensor.add,
    Tensor.add_,
    Tensor.__add__,
    Tensor.__radd__,
    Tensor.__iadd__,
)
CONCATENATIONS = (torch.cat, torch.concat)
LINEAR = (
    Tensor.contiguous,
    Tensor.flatten,
    Tensor.mean,
    Tensor.permute,
    Tensor.reshape,
    Tensor.squeeze,
    Tensor.sum,
    Tensor.transpose,
    Tensor.unsqueeze,
    Tensor.view,
    torch.flatten,
    torch.mean,
    torch.permute,
    torch.reshape,
    torch.squeeze,
    torch.sum,
    torch.transpose,
    torch.unsqueeze,
    F.avg_pool1d,
    F.avg_pool2d,
    F.avg_pool3d,
)


def prelu(call: Call) -> Tensor | None:
    """``F.prelu``: ẋ where x > 0, else aẋ + ȧx.

    In terms of kernels that do not branch: on a CPU ``where`` takes ten times as long.
    """
    if call.kwargs or len(call.args) != 2:
        return None
    x, slope = call.args
    dx, dslope = call.tangent(x), call.tangent(slope)
    shape = (-1, *[1] * (x.dim() - 2)) if slope.numel() > 1 else ()
    if dx is None:
        assert dslope is not None
        below: Tensor = x.clamp(max=0)
        return below.mul_(dslope.reshape(shape))
    slope = slope.reshape(shape)
    tangent = _where_positive(dx, x).mul_(1 - slope).addcmul_(dx, slope.expand_as(dx))
    if dslope is not None:
        tangent.addcmul_(x.clamp(max=0), dslope.reshape(shape))
    return tangent


def relu(call: Call) -> Tensor | None:
    """Rectified linear units, also in place."""
    if not call.args:
        return None
    dx = call.tangent(call.args[0])
    return None if dx is None else _where_positive(dx, call.out)


def _where_positive(dx: Tensor, x: Tensor) -> Tensor:
    kept: Tensor = torch.ops.aten.threshold_backward(dx, x, 0)
    return kept


def add(call: Call) -> Tensor | None:
    """Sums of two, also in place."""
    if call.kwargs.keys() - {"alpha"} or len(call.args) != 2:
        return None
    parts = [tangent for value in call.args if (tangent := call.tangent(value)) is not None]
    if "alpha" in call.kwargs and call.tangent(call.args[1]) is not None:
        parts[-1] = parts[-1] * call.kwargs["alpha"]
    total = parts[0] if len(parts) == 1 else parts[0] + parts[1]
    return total.to(call.out.dtype).expand(call.out.shape)


def concatenate(call: Call) -> Tensor | None:
    """``torch.cat``."""
    if not call.args:
        return None
    parts = [
        torch.zeros_like(x) if (tangent := call.tangent(x)) is None else tangent
        for x in call.args[0]
    ]
    joined: Tensor = call.operator(parts, *call.args[1:], **call.kwargs)
    return joined


def linear(call: Call) -> Tensor | None:
    """Operators that do to the tangent what they do to their first argument."""
    if not call.args or (tangent := call.tangent(call.args[0])) is None:
        return None
    changed: Tensor = call.operator(tangent, *call.args[1:], **call.kwargs)
    return changed
