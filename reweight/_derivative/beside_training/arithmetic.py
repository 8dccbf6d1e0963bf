"""Sums, products, quotients and choices between two, also in place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reweight._derivative.beside_training.call import Call

SUMS = (
    torch.add,
    Tensor.add,
    Tensor.add_,
    Tensor.__add__,
    Tensor.__radd__,
    Tensor.__iadd__,
)
DIFFERENCES = (
    torch.sub,
    torch.subtract,
    Tensor.sub,
    Tensor.subtract,
    Tensor.sub_,
    Tensor.__sub__,
    Tensor.__isub__,
)
REVERSED_DIFFERENCES = (torch.rsub, Tensor.__rsub__)
PRODUCTS = (
    torch.mul,
    torch.multiply,
    Tensor.mul,
    Tensor.multiply,
    Tensor.mul_,
    Tensor.__mul__,
    Tensor.__rmul__,
    Tensor.__imul__,
)
QUOTIENTS = (
    torch.div,
    torch.divide,
    torch.true_divide,
    Tensor.div,
    Tensor.divide,
    Tensor.true_divide,
    Tensor.div_,
    Tensor.__truediv__,
    Tensor.__itruediv__,
)
REVERSED_QUOTIENTS = (Tensor.__rtruediv__,)
FILLS = (torch.masked_fill, Tensor.masked_fill, Tensor.masked_fill_)


def add(call: Call) -> Tensor | None:
    """Sums."""
    return _weighted_sum(call, 0, 1.0)


def subtract(call: Call) -> Tensor | None:
    """Differences."""
    return _weighted_sum(call, 1, -1.0)


def subtract_reversed(call: Call) -> Tensor | None:
    """``number - x``."""
    return _weighted_sum(call, 0, -1.0)


def _weighted_sum(call: Call, scaled: int, sign: float) -> Tensor | None:
    if call.kwargs.keys() - {"alpha"} or len(call.args) != 2:
        return None
    parts = [call.tangent(value) for value in call.args]
    alpha = call.kwargs.get("alpha", 1)
    if alpha != 1:
        which = 0 if call.operator is torch.rsub else 1
        parts[which] = None if (part := parts[which]) is None else part * alpha
    one, other = parts[1 - scaled], parts[scaled]
    if other is None:
        assert one is not None
        total = one
    elif one is None:
        total = other if sign > 0 else -other
    else:
        total = one + other if sign > 0 else one - other
    return total.to(call.out.dtype).expand(call.out.shape)


def multiply(call: Call) -> Tensor | None:
    """Products; in place, of what the other factor's tangent is zero."""
    if call.kwargs or len(call.args) != 2:
        return None
    x, y = call.args
    dx, dy = call.tangent(x), call.tangent(y)
    product: Tensor
    if dx is None or dy is None:
        product = (x if dx is None else dx) * (y if dy is None else dy)
        return product
    product = dx * y
    if x.dtype == y.dtype == product.dtype:
        return product.addcmul_(x, dy)  # without a third tensor
    product = product + x * dy
    return product


def divide(call: Call) -> Tensor | None:
    """Quotients."""
    if call.kwargs or len(call.args) != 2:
        return None
    return _quotient(call, *call.args)


def divide_reversed(call: Call) -> Tensor | None:
    """``number / x``."""
    if call.kwargs or len(call.args) != 2:
        return None
    return _quotient(call, call.args[1], call.args[0])


def _quotient(call: Call, x: Any, y: Any) -> Tensor:
    dx, dy = call.tangent(x), call.tangent(y)
    moved: Tensor
    if dy is None:
        assert dx is not None
        moved = dx / y
        return moved
    moved = call.out * dy
    return (moved.neg_() if dx is None else dx - moved).div_(y)


def choose(call: Call) -> Tensor | None:
    """``torch.where`` with three arguments: by where, not by 0 times what was not chosen."""
    if call.kwargs or len(call.args) != 3:
        return None
    condition, x, y = call.args
    if call.operator is Tensor.where:
        condition, x = x, condition
    dx, dy = call.tangent(x), call.tangent(y)
    tangent = torch.where(condition, 0 if dx is None else dx, 0 if dy is None else dy)
    return tangent.to(call.out.dtype).expand(call.out.shape)


def fill(call: Call) -> Tensor | None:
    """``masked_fill`` with a number or a tensor of no dimension."""
    given = call.given("input", "mask", "value")
    x, value = given["input"], given["value"]
    dx, dvalue = call.tangent(x), call.tangent(value)
    if dx is None:
        dx = torch.zeros_like(x)
    return dx.masked_fill(given["mask"], 0 if dvalue is None else dvalue)


def set_item(call: Call) -> list[Tensor | None]:
    """``x[index] = value``."""
    x, index, value = call.args
    dx, dvalue = call.tangent(x), call.tangent(value)
    tangent = torch.zeros_like(x) if dx is None else dx.clone()
    tangent[index] = 0 if dvalue is None else dvalue
    return [tangent]
