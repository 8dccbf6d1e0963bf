"""Softmax, its logarithm, and the logarithm of a sum of exponentials."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from reweight._derivative.beside_training.call import Call
from reweight._torch_internals import softmax_backward

SOFTMAXES = (F.softmax, torch.softmax, Tensor.softmax, torch.special.softmax)
LOG_SOFTMAXES = (F.log_softmax, torch.log_softmax, Tensor.log_softmax, torch.special.log_softmax)
SUMS = (torch.logsumexp, Tensor.logsumexp, torch.special.logsumexp)


def softmax(call: Call) -> Tensor | None:
    """Softmax, whose Jacobian is symmetric: the kernel for the backward pass takes tangents too."""
    found = _arguments(call)
    if found is None:
        return None
    dx, dim = found
    return softmax_backward(dx, call.out, dim)


def log_softmax(call: Call) -> Tensor | None:
    """ẋ − Σ softmax(x) ẋ."""
    found = _arguments(call)
    if found is None:
        return None
    dx, dim = found
    total: Tensor = call.out.exp().mul_(dx).sum(dim, keepdim=True)
    return dx - total


def _arguments(call: Call) -> tuple[Tensor, int] | None:
    # The type asked for is the result's.
    given = {**dict(zip(("input", "dim"), call.args, strict=False)), **call.kwargs}
    dx = call.tangent(given.get("input"))
    if dx is None or not isinstance(given.get("dim"), int) or call.out.is_complex():
        return None
    return dx.to(call.out.dtype), given["dim"]


def log_sum_exp(call: Call) -> Tensor | None:
    """Σ exp(x − y) ẋ."""
    given = call.given("input", "dim", "keepdim", keepdim=False)
    x, dim = given["input"], given["dim"]
    if (dx := call.tangent(x)) is None or not isinstance(dim, int) or x.is_complex():
        return None
    y = call.out if given["keepdim"] else call.out.unsqueeze(dim)
    total: Tensor = (x - y).exp_().mul_(dx).sum(dim, keepdim=given["keepdim"])
    return total
