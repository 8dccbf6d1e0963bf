"""Losses, reduced or not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from reweight._derivative.beside_training.call import Call

_kernels: Any = torch.ops.aten
_BY_ELEMENT = 0  # the kernels' name of reduction="none"


def distance(call: Call) -> Tensor | None:
    """Losses that are functions of x − t, and whose derivative by t is minus that by x."""
    names = {
        F.mse_loss: ("input", "target", "size_average", "reduce", "reduction", "weight"),
        F.l1_loss: ("input", "target", "size_average", "reduce", "reduction", "weight"),
        F.smooth_l1_loss: ("input", "target", "size_average", "reduce", "reduction", "beta"),
        F.huber_loss: ("input", "target", "reduction", "delta", "weight"),
    }[call.operator]
    given = call.given(*names, reduction="mean", beta=1.0, delta=1.0, weight=None)
    given = {"size_average": None, "reduce": None} | given
    if given["weight"] is not None or _legacy(given):
        return None
    x, target = given["input"], given["target"]
    dx, dtarget = call.tangent(x), call.tangent(target)
    if x.shape != target.shape or x.dtype != target.dtype or x.is_complex():
        return None
    if dx is None:
        assert dtarget is not None
        moved = -dtarget
    else:
        moved = dx if dtarget is None else dx - dtarget
    x, target, moved = (part.to(call.out.dtype) for part in (x, target, moved))
    derivative: Tensor
    if call.operator is F.mse_loss:
        derivative = _kernels.mse_loss_backward(moved, x, target, _BY_ELEMENT)
    elif call.operator is F.huber_loss:
        derivative = _kernels.huber_loss_backward(moved, x, target, _BY_ELEMENT, given["delta"])
    elif call.operator is F.smooth_l1_loss and given["beta"] != 0:
        derivative = _kernels.smooth_l1_loss_backward(
            moved, x, target, _BY_ELEMENT, float(given["beta"])
        )
    else:
        derivative = (x - target).sgn_().mul_(moved)
    return _reduced(derivative, given["reduction"])


def binary_cross_entropy_with_logits(call: Call) -> Tensor | None:
    """``F.binary_cross_entropy_with_logits``, for a target that is held constant."""
    given = call.given(
        *("input", "target", "weight", "size_average", "reduce", "reduction", "pos_weight"),
        reduction="mean",
    )
    x, target, positive = given["input"], given["target"], given["pos_weight"]
    dx = call.tangent(x)
    constant = (target, given["weight"], positive)
    if dx is None or _legacy(given) or any(call.tangent(part) is not None for part in constant):
        return None
    x, dx = x.to(call.out.dtype), dx.to(call.out.dtype)
    if positive is None:
        slope = torch.sigmoid(x).sub_(target)
    else:
        share = (positive - 1).mul(target).add_(1)
        slope = torch.sigmoid(-x).mul_(share).neg_().add_(1 - target)
    slope = slope.mul_(dx)
    if given["weight"] is not None:
        slope.mul_(given["weight"])
    return _reduced(slope, given["reduction"])


def binary_cross_entropy(call: Call) -> Tensor | None:
    """``F.binary_cross_entropy``, for a target that is held constant."""
    given = call.given(
        *("input", "target", "weight", "size_average", "reduce", "reduction"), reduction="mean"
    )
    x, target, weight = given["input"], given["target"], given["weight"]
    dx = call.tangent(x)
    if dx is None or _legacy(given) or call.tangent(target) is not None:
        return None
    if weight is not None and (call.tangent(weight) is not None or weight.shape != x.shape):
        return None
    slope = _kernels.binary_cross_entropy_backward(dx, x, target, weight, _BY_ELEMENT)
    return _reduced(slope, given["reduction"])


def _legacy(given: dict[str, Any]) -> bool:
    return given["size_average"] is not None or given["reduce"] is not None


def _reduced(losses: Tensor, reduction: str) -> Tensor | None:
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()
