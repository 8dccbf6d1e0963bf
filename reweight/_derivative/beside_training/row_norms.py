"""Normalisation of each sample by itself: layer, group, instance and root-mean-square norms.

y = w x̂ + b has the tangent w J ẋ + ẇ x̂ + ḃ, J the Jacobian of x̂ by x. J is symmetric, so that the
kernel for the backward pass of a norm without weights takes tangents forward; and ẇ x̂ + ḃ is the
norm itself with ẇ and ḃ for weight and bias.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from reweight._derivative.beside_training.call import Call
from reweight._derivative.beside_training.saved_tensors import may_be_read
from reweight._torch_internals import group_norm_statistics, layer_norm_statistics

_kernels: Any = torch.ops.aten


def layer_norm(call: Call) -> Tensor | None:
    """``F.layer_norm``."""
    given = call.given("input", "normalized_shape", "weight", "bias", "eps", eps=1e-5)
    x, sides, eps = given["input"], list(given["normalized_shape"]), given["eps"]
    x = x.to(call.out.dtype)  # under autocast

    def jacobian(dx: Tensor) -> Tensor:
        kept = layer_norm_statistics(call.out.grad_fn) if may_be_read() else None
        if kept is None:
            kept = _kernels.native_layer_norm(x, sides, None, None, eps)[1:]
        moved: Tensor = _kernels.native_layer_norm_backward(
            dx, x, sides, *kept, None, None, [True, False, False]
        )[0]
        return moved

    return _affine(
        call, given, jacobian, lambda dw, db: F.layer_norm(x, sides, dw, db, eps), lambda w: w
    )


def group_norm(call: Call) -> Tensor | None:
    """``F.group_norm``."""
    given = call.given("input", "num_groups", "weight", "bias", "eps", eps=1e-5)
    return _grouped(call, given, given["num_groups"])


def instance_norm(call: Call) -> Tensor | None:
    """``F.instance_norm`` by each sample's own statistics: a group for each channel."""
    given = call.given(
        "input",
        "running_mean",
        "running_var",
        "weight",
        "bias",
        "use_input_stats",
        "momentum",
        "eps",
        use_input_stats=True,
        eps=1e-5,
    )
    if not given["use_input_stats"]:
        return None
    return _grouped(call, given, given["input"].shape[1])


def _grouped(call: Call, given: dict[str, Any], groups: int) -> Tensor | None:
    x, eps = given["input"].to(call.out.dtype).contiguous(), given["eps"]
    n, channels = x.shape[:2]
    room = x[0, 0].numel() if n else 0
    shape = (-1, *[1] * (x.dim() - 2))

    def jacobian(dx: Tensor) -> Tensor:
        kept = group_norm_statistics(call.out.grad_fn) if may_be_read() else None
        if kept is None:
            kept = _kernels.native_group_norm(x, None, None, n, channels, room, groups, eps)[1:]
        moved: Tensor = _kernels.native_group_norm_backward(
            dx.contiguous(), x, *kept, None, n, channels, room, groups, [True, False, False]
        )[0]
        return moved

    return _affine(
        call,
        given,
        jacobian,
        lambda dw, db: F.group_norm(x, groups, dw, db, eps),
        lambda w: w.reshape(shape),
    )


def rms_norm(call: Call) -> Tensor | None:
    """``F.rms_norm``: J ẋ = r (ẋ − r² x mean(x ẋ)), r the inverse root mean square."""
    given = call.given("input", "normalized_shape", "weight", "eps", bias=None)
    x, sides = given["input"], list(given["normalized_shape"])
    if x.dtype not in (torch.float32, torch.float64):  # else rounded on the way
        return None
    eps = torch.finfo(x.dtype).eps if given["eps"] is None else given["eps"]
    dims = tuple(range(-len(sides), 0))

    def jacobian(dx: Tensor) -> Tensor:
        inverse = x.square().mean(dims, keepdim=True).add_(eps).rsqrt_()
        share = (x * dx).mean(dims, keepdim=True).mul_(inverse).mul_(inverse)
        return torch.addcmul(dx, x, share, value=-1).mul_(inverse)

    return _affine(
        call, given, jacobian, lambda dw, _: F.rms_norm(x, sides, dw, given["eps"]), lambda w: w
    )


def _affine(
    call: Call,
    given: dict[str, Any],
    jacobian: Callable[[Tensor], Tensor],
    normalised: Callable[[Tensor, Tensor | None], Tensor],
    fit: Callable[[Tensor], Tensor],
) -> Tensor | None:
    """Return w J ẋ + ẇ x̂ + ḃ, or ``None`` where types are mixed."""
    weight = given["weight"]
    dx, dw, db = (call.tangent(given[name]) for name in ("input", "weight", "bias"))
    dx = None if dx is None else dx.to(call.out.dtype)
    if any(part is not None and part.dtype != call.out.dtype for part in (weight, dw, db)):
        return None
    tangent = None if dw is None else normalised(dw, db)
    if dx is not None:
        moved = jacobian(dx)
        if tangent is not None:
            return tangent.addcmul_(moved, fit(weight))
        tangent = moved if weight is None else moved.mul_(fit(weight))
    if dw is None and db is not None:
        term = fit(db)
        tangent = term.expand_as(call.out) if tangent is None else tangent.add_(term)
    return tangent
