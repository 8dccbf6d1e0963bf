"""Operators that hand out some of their input's numbers: embeddings, maxima, pooling by maximum."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from reweight._derivative.beside_training.call import Call, Tangents
from reweight._derivative.beside_training.saved_tensors import may_be_read
from reweight._torch_internals import pooled_from

_EXTREMES = ("max", "min")
_ORDERED = ("topk", "sort")
PICKS = tuple(getattr(home, n) for n in (*_EXTREMES, *_ORDERED) for home in (torch, Tensor))
POOLS = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
POOLS_WITH_INDICES = (
    F.max_pool1d_with_indices,
    F.max_pool2d_with_indices,
    F.max_pool3d_with_indices,
)
_WITH_INDICES: dict[Any, Any] = dict(zip(POOLS, POOLS_WITH_INDICES, strict=True))


def embedding(call: Call) -> Tensor | None:
    """``F.embedding``; the row of ``padding_idx`` is held constant, as in the backward pass."""
    given = call.given(
        "input",
        "weight",
        "padding_idx",
        "max_norm",
        "norm_type",
        "scale_grad_by_freq",
        "sparse",
    )
    index, weight, padding = given["input"], given["weight"], given["padding_idx"]
    dweight = call.tangent(weight)
    if dweight is None or dweight.layout != torch.strided:
        return None
    if given["max_norm"] is not None or given["scale_grad_by_freq"]:
        return None
    rows = F.embedding(index, dweight)
    if padding is None:
        return rows
    padding = padding if padding >= 0 else weight.shape[0] + padding
    return rows.masked_fill_((index == padding).unsqueeze(-1), 0)


def picked(call: Call) -> Tangents:
    """``max``, ``min``, ``topk`` and ``sort`` along a dimension: values, and where they are."""
    if not call.args or not isinstance(call.out, tuple):
        return None
    x, *rest = call.args
    dx = call.tangent(x)
    if dx is None:
        return None
    values, indices = call.out
    ordered = getattr(call.operator, "__name__", "") in _ORDERED
    position = 1 if getattr(call.operator, "__name__", "") == "topk" else 0
    dim = call.kwargs.get("dim", rest[position] if len(rest) > position else -1)
    if not isinstance(dim, int) or x.dim() == 0:
        return None
    whole = ordered or values.dim() == x.dim()
    moved = dx.gather(dim, indices if whole else indices.unsqueeze(dim))
    return [moved if whole else moved.squeeze(dim), None]


def pooled(call: Call) -> Tangents:
    """``F.max_pool1d`` to ``3d``: the tangents of the greatest numbers."""
    x = call.args[0] if call.args else None
    dx = call.tangent(x)
    if dx is None:
        return None
    assert isinstance(x, Tensor)
    if isinstance(call.out, tuple):
        values, indices = call.out
    else:
        values, indices = call.out, pooled_from(call.out.grad_fn) if may_be_read() else None
        if indices is None:
            options = {k: v for k, v in call.kwargs.items() if k != "return_indices"}
            indices = _WITH_INDICES[call.operator](x, *call.args[1:], **options)[1]
    spatial = _spatial_dimensions(call.operator)
    if indices.shape != values.shape:
        indices = indices.reshape(values.shape)
    moved = dx.flatten(-spatial).gather(-1, indices.flatten(-spatial)).view(values.shape)
    return [moved, None] if isinstance(call.out, tuple) else moved


def _spatial_dimensions(operator: Any) -> int:
    table = POOLS if operator in POOLS else POOLS_WITH_INDICES
    return 1 + table.index(operator)
