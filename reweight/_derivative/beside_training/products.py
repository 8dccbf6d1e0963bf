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
)


def layer(call: Call) -> Tensor | None:
    """Linear layers and convolutions, with or without a bias."""
    if len(call.args) < 2:
        return None
    x, weight, *rest = call.args
    bias = rest[0] if rest else call.kwargs.get("bias")
    options = {name: value for name, value in call.kwargs.items() if name != "bias"}
    dx, dweight, dbias = (call.tangent(value) for value in (x, weight, bias))
    tangent: Tensor | None = None
    if dx is not None:
        tangent = call.operator(dx, weight, None, *rest[1:], **options)
    if dweight is not None:
        term = call.operator(x, dweight, None, *rest[1:], **options)
        tangent = term if tangent is None else tangent.add_(term)
    if dbias is not None:
        dimensions = _SPATIAL_DIMENSIONS.get(call.operator)
        # A linear layer's may be of any shape that broadcasts.
        term = dbias if dimensions is None else dbias.reshape(-1, *[1] * dimensions)
        tangent = term.expand_as(call.out) if tangent is None else tangent.add_(term)
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
    return total.add_(call.operator(a, db))
