"""Operators of one tensor that work element by element: ẏ = f′(x) ẋ.

Where PyTorch has a kernel for the backward pass it is taken: none of them branches, and each
reads and writes memory once. Kernels for complex numbers conjugate, and are left alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from reweight._derivative.beside_training.call import Call, Rule
from reweight._torch_internals import saved_input

Derivative = Callable[[Tensor, Any], Tensor]
_kernels: Any = torch.ops.aten


def of_output(derivative: Derivative) -> Rule:
    """Return the rule of an operator whose f′ is a function of f, also in place.

    Args:
        derivative: Of the tangent of x and f(x), the tangent of f(x).
    """

    def rule(call: Call) -> Tensor | None:
        if len(call.args) != 1 or call.kwargs.keys() - {"inplace"}:
            return None
        x = call.args[0]
        return None if x.is_complex() else derivative(call.tangents[id(x)], call.out)

    return rule


def of_input(derivative: Derivative) -> Rule:
    """Return the rule of an operator whose f′ takes x.

    Args:
        derivative: Of the tangent of x and x, the tangent of f(x).
    """

    def rule(call: Call) -> Tensor | None:
        if len(call.args) != 1 or call.kwargs.keys() - {"inplace"}:
            return None
        x = call.args[0]
        if x.is_complex():
            return None
        before = saved_input(call.out.grad_fn) if call.kwargs.get("inplace") else x
        return None if before is None else derivative(call.tangents[id(x)], before)

    return rule


def _named(names: str, *homes: Any) -> list[Any]:
    """Return the operators of these names, as functions and as methods, those there are."""
    found = (getattr(home, name, None) for name in names.split() for home in homes)
    return list(dict.fromkeys(operator for operator in found if operator is not None))


def _table(homes: Iterable[Any], make: Callable[[Derivative], Rule], **rows: Derivative) -> Any:
    found = {}
    for name, derivative in rows.items():
        found.update(dict.fromkeys(_named(name, *homes), make(derivative)))
    return found


_EVERYWHERE = (torch, Tensor, torch.special, F)
_OF_OUTPUT: dict[str, Derivative] = {
    "exp": lambda dx, y: dx * y,
    "expm1": lambda dx, y: torch.addcmul(dx, dx, y),
    "reciprocal": lambda dx, y: (dx * y).mul_(y).neg_(),
    "rsqrt": lambda dx, y: (dx * y).mul_(y).mul_(y).mul_(-0.5),
    "sigmoid": lambda dx, y: _kernels.sigmoid_backward(dx, y),
    "sqrt": lambda dx, y: (dx / y).mul_(0.5),
    "tanh": lambda dx, y: _kernels.tanh_backward(dx, y),
}
_OF_INPUT: dict[str, Derivative] = {
    "abs": lambda dx, x: dx * x.sgn(),
    "cos": lambda dx, x: x.sin().mul_(dx).neg_(),
    "erf": lambda dx, x: x.square().neg_().exp_().mul_(2 / math.sqrt(math.pi)).mul_(dx),
    "hardsigmoid": lambda dx, x: _kernels.hardsigmoid_backward(dx, x),
    "hardswish": lambda dx, x: _kernels.hardswish_backward(dx, x),
    "log": lambda dx, x: dx / x,
    "log1p": lambda dx, x: dx / (x + 1),
    "logsigmoid": lambda dx, x: dx * torch.sigmoid(-x),
    "mish": lambda dx, x: _kernels.mish_backward(dx, x),
    "silu": lambda dx, x: _kernels.silu_backward(dx, x),
    "sin": lambda dx, x: x.cos().mul_(dx),
    "square": lambda dx, x: (dx * x).mul_(2),
}
IN_PLACE = _table(_EVERYWHERE, of_output, **{f"{name}_": f for name, f in _OF_OUTPUT.items()})
"""Operators that work in place whatever they are given: their output tells all."""
SIMPLE = (
    _table(_EVERYWHERE, of_output, **_OF_OUTPUT)
    | _table(_EVERYWHERE, of_input, **_OF_INPUT)
    | IN_PLACE
)
"""Operators of one argument, and their rules."""
WITH_INPLACE = (F.silu, F.mish, F.hardswish, F.hardsigmoid)
"""Operators of ``SIMPLE`` that an argument ``inplace`` lets write over the x they are judged by."""

RELUS = (F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)
BOUNDED = (F.hardtanh, F.relu6)
CLAMPS = (torch.clamp, torch.clip, Tensor.clamp, Tensor.clip, Tensor.clamp_min, Tensor.clamp_max)
POWERS = (torch.pow, Tensor.pow, Tensor.__pow__)


def relu(call: Call) -> Tensor | None:
    """Rectified linear units, also in place."""
    if not call.args:
        return None
    dx = call.tangent(call.args[0])
    return None if dx is None else _where_positive(dx, call.out)


def _where_positive(dx: Tensor, x: Tensor) -> Tensor:
    kept: Tensor = _kernels.threshold_backward(dx, x, 0)
    return kept


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


def leaky_relu(call: Call) -> Tensor:
    """``F.leaky_relu``, also in place: the output has the sign of the input."""
    given = call.given("input", "negative_slope", "inplace", negative_slope=0.01)
    slope, dx = given["negative_slope"], call.tangents[id(given["input"])]
    kept: Tensor = _kernels.leaky_relu_backward(dx, _unless_in_place(call, given), slope, False)
    return kept


def elu(call: Call) -> Tensor:
    """``F.elu``, also in place."""
    given = call.given("input", "alpha", "inplace", alpha=1.0)
    in_place = bool(given["inplace"])
    x, dx = _unless_in_place(call, given), call.tangents[id(given["input"])]
    scaled: Tensor = _kernels.elu_backward(dx, given["alpha"], 1, 1, in_place, x)
    return scaled


def bounded(call: Call) -> Tensor:
    """``F.hardtanh`` and ``F.relu6``, also in place."""
    given = call.given("input", "min_val", "max_val", "inplace", min_val=-1.0, max_val=1.0)
    low, high = (0, 6) if call.operator is F.relu6 else (given["min_val"], given["max_val"])
    dx = call.tangents[id(given["input"])]
    kept: Tensor = _kernels.hardtanh_backward(dx, _unless_in_place(call, given), low, high)
    return kept


def _unless_in_place(call: Call, given: dict[str, Any]) -> Tensor:
    found: Tensor = call.out if given["inplace"] else given["input"]
    return found


def gelu(call: Call) -> Tensor | None:
    """``F.gelu``, exact or approximated by tanh."""
    given = call.given("input", approximate="none")
    x = given["input"]
    dx = call.tangent(x)
    if dx is None:
        return None
    scaled: Tensor = _kernels.gelu_backward(dx, x, approximate=given["approximate"])
    return scaled


def softplus(call: Call) -> Tensor | None:
    """``F.softplus``."""
    given = call.given("input", "beta", "threshold", beta=1, threshold=20)
    x = given["input"]
    dx = call.tangent(x)
    if dx is None:
        return None
    scaled: Tensor = _kernels.softplus_backward(dx, x, given["beta"], given["threshold"])
    return scaled


def gated(call: Call) -> Tensor | None:
    """``F.glu``: the derivative of a σ(b), a and b the halves of x."""
    given = call.given("input", "dim", dim=-1)
    x, dim = given["input"], given["dim"]
    a, b = x.chunk(2, dim)
    da, db = call.tangents[id(x)].chunk(2, dim)
    gate = torch.sigmoid(b)
    tangent: Tensor = _kernels.sigmoid_backward(db, gate).mul_(a)
    return tangent.addcmul_(da, gate)


def clamp(call: Call) -> Tensor | None:
    """``clamp`` by numbers: the bounds themselves still move."""
    name = getattr(call.operator, "__name__", "")
    bound = {"clamp_min": ("min",), "clamp_max": ("max",)}.get(name, ("min", "max"))
    given = call.given("input", *bound)
    x, low, high = given["input"], given.get("min"), given.get("max")
    if isinstance(low, Tensor) or isinstance(high, Tensor) or x.is_complex():
        return None
    dx = call.tangents[id(x)]
    if low is not None:
        dx = dx.masked_fill(x < low, 0)
    return dx if high is None else dx.masked_fill(x > high, 0)


def power(call: Call) -> Tensor | None:
    """``x ** n`` for a number n."""
    given = call.given("input", "exponent")
    x, n = given["input"], given["exponent"]
    if not isinstance(n, int | float) or not isinstance(x, Tensor) or x.is_complex():
        return None
    dx = call.tangents[id(x)]
    if n == 0:
        return torch.zeros_like(dx)
    if n == 2:
        return (dx * x).mul_(2)
    scaled: Tensor = x.pow(n - 1).mul_(dx).mul_(n)
    return scaled
