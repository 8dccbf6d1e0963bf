"""Operators that are linear in each of two inputs.

f(x, W) + b has the tangent f(ẋ, W) + f(x, Ẇ) + ḃ.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from reweight._derivative.beside_training.call import Call

_SPATIAL_DIMENSIONS = {
    F.conv1d: 1,
    F.conv2d: 2,
    F.conv3d: 3,
    F.conv_transpose1d: 1,
    F.conv_transpose2d: 2,
    F.conv_transpose3d: 3,
}
LAYERS = (F.linear, *_SPATIAL_DIMENSIONS)
MATRIX_PRODUCTS = (
    torch.matmul,
    Tensor.matmul,
    Tensor.__matmul__,
    torch.bmm,
    Tensor.bmm,
    torch.mm,
    Tensor.mm,
    torch.mv,
    Tensor.mv,
    torch.dot,
    Tensor.dot,
    torch.outer,
    Tensor.outer,
)
SUMS_WITH_PRODUCTS = (torch.addmm, Tensor.addmm, torch.baddbmm, Tensor.baddbmm)


def layer(call: Call) -> Tensor | None:
    """Linear layers and convolutions, with or without a bias."""
    if call.operator is F.linear and (found := _linear(call)) is not None:
        return found
    if len(call.args) < 2:
        return None
    x, weight, *rest = call.args
    bias = rest[0] if rest else call.kwargs.get("bias")
    options = {name: value for name, value in call.kwargs.items() if name != "bias"}
    dx, dweight, dbias = (call.tangent(value) for value in (x, weight, bias))
    if dx is None and dweight is None:
        assert dbias is not None
        dimensions = _SPATIAL_DIMENSIONS.get(call.operator)
        # A linear layer's may be of any shape that broadcasts.
        term = dbias if dimensions is None else dbias.reshape(-1, *[1] * dimensions)
        return term.expand_as(call.out)
    # The first product adds the tangent of the bias, and a second one is added to it.
    first = (x, dweight) if dx is None else (dx, weight)
    tangent: Tensor = call.operator(*first, dbias, *rest[1:], **options)
    if dx is None or dweight is None:
        return tangent
    if call.operator is F.linear and weight.dim() == 2 and tangent.is_contiguous():
        rows = tangent.view(-1, tangent.shape[-1])
        if _one_type(rows, x, dweight):
            rows.addmm_(x.reshape(-1, x.shape[-1]), dweight.t())
            return tangent
    return tangent.add_(call.operator(x, dweight, None, *rest[1:], **options))


def _linear(call: Call) -> Tensor | None:
    """A linear layer on rows, all of it moving, in two products; ``None`` for any other call."""
    if len(call.args) != 3 or call.kwargs:
        return None
    x, weight, bias = call.args
    tangent_of = call.tangents.get
    dx, dweight, dbias = tangent_of(id(x)), tangent_of(id(weight)), tangent_of(id(bias))
    if dx is None or dweight is None or x.dim() != 2 or weight.dim() != 2:
        return None
    tangent = F.linear(dx, weight, dbias)
    # Under autocast a product is of another type than its factors; in place it may not be.
    if tangent.dtype == x.dtype == dweight.dtype:
        return tangent.addmm_(x, dweight.t())
    return tangent.add_(F.linear(x, dweight))


def _one_type(*parts: Tensor) -> bool:
    """Under autocast a product is of another type than its factors; in place it may not be."""
    return all(part.dtype == parts[0].dtype for part in parts)


def product_added(call: Call) -> Tensor | None:
    """``addmm`` and ``baddbmm``."""
    given = call.given("input", "a", "b", "beta", "alpha", beta=1, alpha=1)
    tangent: Tensor | None = None
    a, b = given["a"], given["b"]
    multiply = torch.mm if a.dim() == 2 else torch.bmm
    for one, other in ((call.tangent(a), b), (a, call.tangent(b))):
        if one is None or other is None:
            continue
        if tangent is None:
            tangent = multiply(one, other)
        elif not _one_type(tangent, one, other):
            tangent.add_(multiply(one, other))
        else:
            tangent = tangent.addmm_(one, other) if a.dim() == 2 else tangent.baddbmm_(one, other)
    if tangent is not None and given["alpha"] != 1:
        tangent.mul_(given["alpha"])
    if (dinput := call.tangent(given["input"])) is None:
        return tangent
    if tangent is None:
        moved: Tensor = dinput * given["beta"]
        return moved.expand_as(call.out)
    return tangent.add_(dinput, alpha=given["beta"])


def einsum(call: Call) -> Tensor | None:
    """``torch.einsum``: a sum over the operands that move, each in its turn."""
    equation, *operands = call.args
    if not isinstance(equation, str) or call.kwargs:
        return None
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = list(operands[0])
    tangent: Tensor | None = None
    for position, operand in enumerate(operands):
        if (moved := call.tangent(operand)) is None:
            continue
        parts = [*operands[:position], moved, *operands[position + 1 :]]
        term: Tensor = torch.einsum(equation, *parts)
        tangent = term if tangent is None else tangent + term  # a term may be a view
    return tangent


def matrix_product(call: Call) -> Tensor | None:
    """Products of matrices and vectors, batched or not."""
    if call.kwargs or len(call.args) != 2:
        return None
    a, b = call.args
    da, db = call.tangent(a), call.tangent(b)
    if da is None or db is None:
        product: Tensor = call.operator(a if da is None else da, b if db is None else db)
        return product
    total: Tensor = call.operator(da, b)
    if total.dim() == 3 == a.dim() == b.dim() and _one_type(total, a, db) and len(a) == len(b):
        return total.baddbmm_(a, db)
    return total.add_(call.operator(a, db))
